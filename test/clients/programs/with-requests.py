import sys, requests
print(requests.get(sys.argv[1], timeout=30).text)
