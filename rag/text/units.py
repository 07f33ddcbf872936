"""Names of units, each with its base unit and its size in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

_SIZES = {
    "gbp": {"1": "£ gbp pound pounds sterling pfund"},
    "eur": {"1": "€ eur euro euros"},
    "usd": {"1": "$ us$ usd dollar dollars"},
    "chf": {"1": "chf franken francs sfr"},
    "jpy": {"1": "¥ jpy yen"},
    "inr": {"1": "₹ inr rupee rupees"},
    "cent": {"1": "cent cents ct pence"},
    "percent": {"1": "% percent pct prozent pourcent procent"},
    "permille": {"1": "‰ permille promille"},
    "second": {
        "0.001": "ms millisecond milliseconds millisekunden",
        "1": "s sec secs second seconds sekunde sekunden seconde secondes segundos secondi",
        "60": "min mins minute minutes minuten minutos minuti",
        "3600": "h hr hrs hour hours stunde stunden std heure heures horas ore uur",
        "86400": "day days tag tage tagen jour jours días dias giorni dagen",
        "604800": "week weeks woche wochen semaine semaines semanas settimane weken",
    },
    "month": {
        "1": "month months monat monate monaten mois meses mesi maanden",
        "12": "year years yr yrs jahr jahre jahren an ans año años anno anni anos jaar",
    },
    "metre": {
        "0.001": "mm millimetre millimetres millimeter",
        "0.01": "cm centimetre centimetres centimeter zentimeter",
        "1": "m metre metres meter meters mètres metros metri",
        "1000": "km kilometre kilometres kilometer kilometers kilomètres kilómetros",
    },
    "mile": {"1": "mile miles meile meilen"},
    "foot": {"1": "ft foot feet"},
    "inch": {"1": "inch inches zoll"},
    "gram": {
        "0.001": "mg milligram milligrams milligramm",
        "1": "g gram grams gramm",
        "1000": "kg kilogram kilograms kilo kilos kilogramm",
        "1000000": "t tonne tonnes tonnen",
    },
    "lb": {"1": "lb lbs pound pounds pfund"},
    "litre": {
        "0.001": "ml millilitre millilitres milliliter",
        "0.01": "cl",
        "1": "l litre litres liter liters",
    },
    "celsius": {"1": "°c ℃"},
    "fahrenheit": {"1": "°f"},
    "byte": {"1e3": "kb", "1e6": "mb", "1e9": "gb", "1e12": "tb"},
    "watt": {"1": "watt watts", "1000": "kw kilowatt", "1000000": "mw megawatt"},
    "watt hour": {"1": "wh", "1000": "kwh", "1000000": "mwh"},
    "volt": {"1": "volt volts", "1000": "kv"},
    "ampere": {"0.001": "ma mah", "1": "amp amps ampere"},
    "hertz": {"1": "hz hertz", "1000": "khz", "1e6": "mhz", "1e9": "ghz"},
    "km/h": {"1": "km/h kmh"},
    "mile/h": {"1": "mph"},
}
UNITS: dict[str, dict[str, Decimal]] = {}
"""For each name in lower case, its base units and its size in them; a pound has two."""
_LETTERS = {"A": "ampere", "V": "volt", "W": "watt"}
"""Units that are words, or nothing, as small letters: "5 a day"."""
for _base, _named in _SIZES.items():
    for _size, _names in _named.items():
        for _name in _names.split():
            UNITS.setdefault(_name, {})[_base] = Decimal(_size)

_SIGNS_BEFORE = ("US$", "£", "€", "$", "¥", "₹", "CHF", "EUR", "USD", "GBP", "Fr.")
CURRENCIES = frozenset({"gbp", "eur", "usd", "chf", "jpy", "inr"})


def _either(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_SMALL = [name for name in UNITS if len(name) == 1 and name.isalpha()]
_WORDS = [name for name in UNITS if name not in _SMALL]


BEFORE = rf"(?P<before>{_either(_SIGNS_BEFORE)})[ \u00a0]?"
_NAMES = rf"(?i:per cent|{_either(_WORDS)})|{_either([*_SMALL, *_LETTERS])}"
AFTER = rf"(?:[ \u00a0\u202f-]?(?P<after>{_NAMES})(?!\w))"

_MULTIPLES = {
    10**3: "k thousand tsd tsd. tausend mille mil miles duizend 1000",
    10**6: "m mn mio mio. million millions millionen millones milioni milhões miljoen 1000000",
    10**9: "b bn billion billions mrd mrd. milliarde milliarden milliard milliards miljard"
    " 1000000000",
    10**12: "trillion trillions billionen",
}
MULTIPLES = {name: size for size, names in _MULTIPLES.items() for name in names.split()}
MULTIPLE = rf"(?:[ \u00a0-]?(?P<multiple>(?i:{_either(MULTIPLES)}))(?!\w))"


def base_units(written: str | None) -> dict[str, Decimal]:
    """Returns the base units of a unit as written, with its size in each; none if unknown."""
    if not written:
        return {}
    if written in _LETTERS:
        return UNITS[_LETTERS[written]]
    name = written.lower()
    return UNITS[{"per cent": "percent", "fr.": "chf"}.get(name, name)]
