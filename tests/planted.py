"""Two hundred distinct secret values."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

_LETTERS, _SIGNS = string.ascii_lowercase, string.ascii_letters + string.digits


def planted(count: int = 200, *, seed: int = 7) -> list[str]:
    """Returns `count` distinct values, equally many of each kind."""
    chance = random.Random(seed)
    makers: tuple[Callable[[random.Random], str], ...] = (
        _mail, _card, _iban, _address, _long_address, _phone, _key, _password
    )  # fmt: skip
    found: dict[str, None] = {}
    while len(found) < count:
        found[makers[len(found) % len(makers)](chance)] = None
    return list(found)


def _some(chance: random.Random, signs: str, least: int, most: int) -> str:
    return "".join(chance.choices(signs, k=chance.randint(least, most)))


def _mail(chance: random.Random) -> str:
    name, host = _some(chance, _LETTERS, 2, 9), _some(chance, _LETTERS, 2, 9)
    return f"{name}{chance.choice(['.', '+', '_'])}{_some(chance, _LETTERS, 1, 5)}@{host}.example"


def _card(chance: random.Random) -> str:
    """By the formula of Luhn, 1954 (US patent 2,950,048)."""
    digits = [4, *(chance.randrange(10) for _ in range(14))]
    doubled = [d if i % 2 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)]
    whole = "".join(map(str, [*digits, -sum(doubled) % 10]))
    space = chance.choice(["", " ", "-", "\u00a0"])
    return space.join(whole[i : i + 4] for i in range(0, 16, 4))


def _iban(chance: random.Random) -> str:
    """By ISO 7064, mod 97-10."""
    account = "".join(chance.choices(string.digits, k=18))
    number = int(f"{account}131400")  # D and E are 13 and 14
    whole = f"DE{98 - number % 97:02}{account}"
    return whole if chance.random() < 0.5 else " ".join(whole[i : i + 4] for i in range(0, 22, 4))


def _address(chance: random.Random) -> str:
    return ".".join(str(chance.randrange(1, 255)) for _ in range(4))


def _long_address(chance: random.Random) -> str:
    return "2001:db8:" + ":".join(f"{chance.randrange(1 << 16):x}" for _ in range(6))


def _phone(chance: random.Random) -> str:
    rest = "".join(chance.choices(string.digits, k=7))
    area = chance.randrange(30, 999)
    return chance.choice([f"+49 {area} {rest}", f"0049 {area} {rest}", f"0{area}/{rest}"])


def _key(chance: random.Random) -> str:
    prefix = chance.choice(["sk-", "ghp_", "glpat-", "xoxb-", "hf_", "Bearer "])
    return prefix + _some(chance, _SIGNS, 20, 40)


def _password(chance: random.Random) -> str:
    prefix = chance.choice(["password: ", "api_key=", '"secret": "', "AWS_SECRET_ACCESS_KEY="])
    return prefix + _some(chance, _SIGNS, 8, 20)
