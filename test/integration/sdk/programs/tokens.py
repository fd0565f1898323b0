"""A client of the Tokens API of Agents Gateway, with a model for each answer of its page. Prints the answers as JSON."""

import json
import os
from datetime import datetime
from typing import Any, List, Literal, Optional

import httpx
from pydantic import BaseModel, ConfigDict

TokenType = Literal["oauth2", "api_key", "jwt"]


class Model(BaseModel):
    # Text is no number, and a number is no text. Members that the page does not have are ignored.
    model_config = ConfigDict(strict=True)


class TokenCreate(Model):
    integration_key: str
    provider: str
    token_type: TokenType
    token_data: dict[str, Any]
    scopes: Optional[List[str]] = None
    expires_at: Optional[datetime] = None


class TokenStored(Model):
    integration_key: str
    provider: str
    token_type: TokenType
    message: str
    created_at: datetime


class TokenMetadata(Model):
    integration_key: str
    provider: str
    token_type: TokenType
    scopes: Optional[List[str]]
    expires_at: Optional[datetime]
    is_expired: bool
    created_at: datetime
    updated_at: datetime


class TokenRead(Model):
    integration_key: str
    provider: str
    token_type: TokenType
    token_data: dict[str, Any]
    scopes: Optional[List[str]]
    expires_at: Optional[datetime]
    is_expired: bool
    refreshed: bool


class TokenRefreshed(Model):
    integration_key: str
    success: bool
    message: str
    refreshed_at: datetime


class TokenDeleted(Model):
    integration_key: str
    message: str


class Failure(Model):
    detail: str


tokens = httpx.Client(base_url=f"{os.environ['SIDEKEY_API_URL']}/v2/users/user-42/", headers={"X-API-Key": os.environ["SIDEKEY_API_KEY"]})


def call(kind, method, path, status, body=None):
    content = None if body is None else body.model_dump_json()
    response = tokens.request(method, path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    if kind is List[TokenMetadata]:
        return [TokenMetadata.model_validate_json(json.dumps(each)) for each in response.json()]
    return kind.model_validate_json(response.content)


token = TokenCreate(**json.loads(os.environ["TOKEN"]))
answers = [call(TokenStored, "POST", "tokens", 201, token)]
answers += call(List[TokenMetadata], "GET", "tokens", 200)
answers += [
    call(TokenRead, "GET", "tokens/google", 200),
    call(TokenRefreshed, "POST", "tokens/google/refresh", 200),
    call(TokenDeleted, "DELETE", "tokens/google", 200),
    call(Failure, "GET", "tokens/google", 404),
]
print(json.dumps([json.loads(answer.model_dump_json()) for answer in answers]))
