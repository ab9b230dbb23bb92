"""What endpoints are given: the service, and the user who asks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from pocketlens.service.api.problems import Problem
from pocketlens.service.api.state import Service
from pocketlens.service.settings import User

#: Of everybody where no token is set.
LOCAL = User("local", operator=True)


def service_of(request: Request) -> Service:
    """What is opened."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def user_of(request: Request) -> User:
    """Who asks.

    Raises:
        Problem: 401, it isn't known.
    """
    # `security.Guard` has looked at the token before anything of the request was read.
    user = request.scope.get("pocketlens.user", None if _service_has_tokens(request) else LOCAL)
    if user is None:
        raise Problem(401, "not_authenticated", "a bearer token is needed")
    assert isinstance(user, User)
    return user


async def _service(request: Request) -> Service:
    return service_of(request)


async def _user(request: Request) -> User:
    return user_of(request)


def _service_has_tokens(request: Request) -> bool:
    return bool(request.app.state.service.settings.tokens)


async def _operator(user: Annotated[User, Depends(_user)]) -> User:
    if not user.operator:
        raise Problem(403, "not_operator", "only an operator may do this")
    return user


ServiceDep = Annotated[Service, Depends(_service)]
UserDep = Annotated[User, Depends(_user)]
OperatorDep = Annotated[User, Depends(_operator)]
