"""A tool for a model, in the shape of a LangChain tool. The model never has a token in its hands.

With LangChain: ``StructuredTool.from_function(tool.invoke, name=tool.name, description=tool.description)``.
"""

from __future__ import annotations

from typing import Any

from sidekey import Sidekey, SidekeyError


class HttpTool:
    name = "http_request"
    description = "Sends an HTTP request. Credentials are added on the way: never ask for one, and never send one."
    args_schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "method": {"type": "string", "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
            "url": {"type": "string"},
            "reason": {"type": "string", "description": "One sentence for the person who reads the audit log."},
            "body": {"type": "object"},
        },
        "required": ["method", "url", "reason"],
    }

    def __init__(self, sidekey: Sidekey, *, agent: str) -> None:
        self._sidekey = sidekey
        self._agent = agent

    def invoke(self, given: dict[str, Any]) -> str:
        try:
            answer = self._sidekey.request(
                given["method"], given["url"], reason=given["reason"], json=given.get("body"), agent=self._agent
            )
        except SidekeyError as error:
            # The model reads why, and the way out.
            return f"Refused ({error.code}): {error}"
        return f"{answer.status_code}\n{answer.text}"
