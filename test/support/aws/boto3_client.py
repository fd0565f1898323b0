"""What an agent's script does with boto3: its arguments are the endpoint of S3 and the one of DynamoDB."""
import io
import json
import sys

import boto3
from botocore.config import Config
from boto3.s3.transfer import TransferConfig

s3_url, dynamodb_url = sys.argv[1:3]
config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1})
s3 = boto3.client("s3", endpoint_url=s3_url, config=config)
odd = "a folder/ü+(1)&=~*'!$,;:@.txt"
s3.put_object(Bucket="bucket", Key=odd, Body=b"small", Metadata={"one": "two   three"}, ContentType="text/plain")
assert s3.get_object(Bucket="bucket", Key=odd)["Body"].read() == b"small"
# A stream: unsigned chunks with a checksum behind them.
s3.put_object(Bucket="bucket", Key="stream", Body=io.BytesIO(b"x" * 3_000_000))
assert s3.head_object(Bucket="bucket", Key="stream")["ContentLength"] == 3_000_000
large = b"0123456789abcdef" * 800_000
s3.upload_fileobj(io.BytesIO(large), "bucket", "large", Config=TransferConfig(multipart_threshold=5_242_880, multipart_chunksize=5_242_880))
assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == large
listed = [each["Key"] for each in s3.list_objects_v2(Bucket="bucket", Prefix="")["Contents"]]
assert sorted(listed) == sorted([odd, "stream", "large"]), listed
s3.delete_object(Bucket="bucket", Key="stream")
tables = boto3.client("dynamodb", endpoint_url=dynamodb_url, config=Config(retries={"max_attempts": 1})).list_tables(Limit=5)
url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": odd}, ExpiresIn=60)
json.dump({"tables": tables["TableNames"], "presigned": url}, sys.stdout)
