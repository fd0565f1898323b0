"""The server of the example: begins connect sessions, and calls the helpdesk with the grant of the person."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sidekey import AsyncSidekey, SidekeyError

# Of the helpdesk, as the domain map of Sidekey has it.
HELPDESK = os.environ["HELPDESK_URL"]
SIDEKEY = os.environ["SIDEKEY_API_URL"]
WEB = Path(os.environ.get("WEB_FOLDER", Path(__file__).parent.parent / "web" / "dist"))

app = FastAPI(title="Tickets")
sidekey = AsyncSidekey()
# Users by the secret of their cookie. A real application has a sign-in, and a database.
signed_in: dict[str, str] = {}


def user_of(sign_in: str = Cookie(default="")) -> str:
    if sign_in not in signed_in:
        raise HTTPException(401, "Sign in first.")
    return signed_in[sign_in]


@app.exception_handler(SidekeyError)
async def refused(_request: Request, error: SidekeyError) -> JSONResponse:
    return JSONResponse({"code": error.code, "message": str(error)}, status_code=error.status or 502)


@app.post("/api/sign-in")
async def sign_in(response: Response) -> dict[str, str]:
    secret = secrets.token_urlsafe()
    signed_in[secret] = "alice"
    response.set_cookie("sign_in", secret, httponly=True, samesite="strict")
    return {"user": "alice", "sidekey": SIDEKEY}


@app.post("/api/sessions")
async def begin(request: Request, user: str = Depends(user_of)) -> dict[str, Any]:
    origin = str(request.base_url).rstrip("/")
    scopes = ["openid", "email", "read:tickets"]
    session = await sidekey.create_connect_session(provider="acme", user=user, scopes=scopes, popup_origin=origin)
    return {"sessionToken": session["session_token"]}


@app.get("/api/accounts")
async def accounts(user: str = Depends(user_of)) -> list[dict[str, Any]]:
    return [{"name": grant["name"], "state": grant["state"]} async for grant in sidekey.list_grants(user=user)]


@app.get("/api/tickets")
async def tickets(user: str = Depends(user_of)) -> Any:
    url = f"{HELPDESK}/tickets?assignee=me"
    answer = await sidekey.request("GET", url, grant="acme", user=user, reason="show tickets")
    return answer.json()


app.mount("/", StaticFiles(directory=WEB, html=True))
