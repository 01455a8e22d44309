"""What other systems look up here: the public keys with which records check our signature (SMART Backend Services)."""

import logging
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from service.domain.errors import ConfigurationError

router = APIRouter(tags=["health"])
_LOG = logging.getLogger(__name__)
_LIFE_SECONDS = 300  # a new key is published at least so long before it is used


@router.get("/.well-known/jwks.json", summary="Our public keys (RFC 7517), for records that we log in to")
def jwks(request: Request) -> JSONResponse:
    """The key set of all destinations with ``auth = "smart"``; empty without any. Needs no login: nothing is secret."""
    try:
        keys = request.app.state.key_set.public()
    except ConfigurationError as error:
        _LOG.error("the key set cannot be served: %s", error)
        body = {"error": "a signing key cannot be read; `dentgate check` names it"}
        return JSONResponse(body, HTTPStatus.SERVICE_UNAVAILABLE, headers={"Cache-Control": "no-store"})
    return JSONResponse(
        keys, headers={"Cache-Control": f"public, max-age={_LIFE_SECONDS}"}, media_type="application/jwk-set+json"
    )
