"""Words that give a text away: a short, readable table for English.

It sees what is said outright and nothing else: no irony, no allusion, no other language. Scores
say how often a match means what it seems to; they are set by hand, not measured.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ME_WILL: Final = r"\bi(?:'ll| will| am going to|'m going to| want to| wanna| am gonna|'m gonna) "
_GROUPS: Final = (
    r"(?:jews|muslims|christians|hindus|black people|white people|asians|arabs|gays|lesbians|"
    r"gay people|trans people|women|men|immigrants|refugees|foreigners|disabled people)"
)
_WEAPONS: Final = r"(?:pipe bombs?|bombs?|explosives?|grenades?|nerve (?:gas|agent)s?|napalm)"
_DRUGS: Final = r"(?:meth|methamphetamine|crack|heroin|fentanyl|lsd|mdma)"
_HOW_TO: Final = r"\bhow (?:to|do i|can i|would i|do you|should i) "
_MAKE: Final = r"(?:make|build|cook|produce|synthesi[sz]e|assemble)"
_SEXUAL: Final = (
    r"\b(?:porn\w*|hentai|nsfw|nudes?|(?:fully |completely |half[- ])?naked "
    r"(?:woman|man|girl|boy|body|people|child|kid|teen\w*)|topless|blowjobs?|cumshots?|orgasms?|"
    r"masturbat\w+|erotic\w*|having sex|sex scene|explicit sex\w*)\b"
)
_MINOR: Final = (
    r"\b(?:child(?:ren)?|kids?|minors?|underage|toddlers?|preteens?|schoolgirls?|schoolboys?|"
    r"little (?:girl|boy)s?|(?:[1-9]|1[0-7])[- ]year[- ]olds?|teen(?:age)?\w*)\b"
)

_TABLE: Final[tuple[tuple[str, float, re.Pattern[str]], ...]] = tuple(
    (category, score, re.compile(pattern))
    for category, score, pattern in (
        ("harassment", 0.9, r"\b(?:kill yourself|kys|nobody (?:likes|loves) you)\b"),
        ("harassment", 0.7, r"\byou(?:'re| are) (?:a |an )?(?:\w+ )?(?:worthless|pathetic|idiot|"
         r"moron|scum|disgusting)\b"),
        ("harassment/threatening", 0.9, _ME_WILL
         + r"(?:kill|murder|stab|shoot|strangle|beat|hurt|rape) (?:you|him|her|them|your)\b"),
        ("hate", 0.9, rf"\b{_GROUPS} (?:are|is) (?:all )?(?:subhuman|vermin|animals|parasites|"
         r"inferior|scum|a disease)\b"),
        ("hate/threatening", 0.9, r"\b(?:kill|exterminate|gas|deport|shoot) (?:all |the )+"
         rf"{_GROUPS}\b|\b{_GROUPS} (?:should|must|deserve to) (?:all )?(?:die|be (?:killed|"
         r"shot|gassed|exterminated))\b"),
        ("illicit", 0.9, rf"{_HOW_TO}{_MAKE} (?:a |an |some |my own )?(?:{_DRUGS}|{_WEAPONS})\b"),
        ("illicit", 0.8, _HOW_TO + r"(?:shoplift|steal a car|launder money|forge|counterfeit|"
         r"hack into|pick a lock)\b"),
        ("illicit/violent", 0.9, rf"{_HOW_TO}{_MAKE} (?:a |an |some |my own )?{_WEAPONS}\b"),
        ("self-harm/intent", 0.9, _ME_WILL + r"(?:die|kill myself|end (?:my life|it all)|"
         r"hurt myself|cut myself|hang myself)\b|\bi(?:'m| am) suicidal\b"),
        ("self-harm/instructions", 0.9, _HOW_TO + r"(?:kill myself|commit suicide|cut myself|"
         r"hang myself|overdose|end my life|starve myself)\b"),
        ("sexual", 0.8, _SEXUAL),
        ("violence", 0.8, r"\b(?:behead\w*|massacr\w*|tortur(?:e|ed|ing) (?:him|her|them|a|the)|"
         r"stabb?(?:ed|ing)? .{0,20}to death|mass shooting|lynch\w*)\b"),
        ("violence/graphic", 0.8, r"\b(?:gore|gory|dismember\w*|disembowel\w*|entrails|"
         r"severed (?:head|limb|arm|leg|hand)s?|mutilat\w+)\b"),
    )
)  # fmt: skip
_SEXUAL_PATTERN: Final = re.compile(_SEXUAL)
_MINOR_PATTERN: Final = re.compile(_MINOR)
# One category means another one too.
_IMPLIES: Final = {
    "harassment/threatening": ("harassment", "violence"),
    "hate/threatening": ("hate", "violence"),
    "self-harm/intent": ("self-harm",),
    "self-harm/instructions": ("self-harm",),
    "sexual/minors": ("sexual",),
    "violence/graphic": ("violence",),
}
# Invisible characters between letters are a way past word lists.
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")


def plain(text: str) -> str:
    """Lower case, without look-alike forms, invisible characters or odd spaces."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return " ".join(_INVISIBLE.sub("", folded).split())


def scores_of(text: str) -> dict[str, float]:
    """The categories whose words occur, with scores from 0 to 1."""
    words = plain(text)
    found: dict[str, float] = {}
    for category, score, pattern in _TABLE:
        if pattern.search(words):
            found[category] = max(score, found.get(category, 0.0))
    if _SEXUAL_PATTERN.search(words) and _MINOR_PATTERN.search(words):
        found["sexual/minors"] = 0.9
    for category in tuple(found):
        for implied in _IMPLIES.get(category, ()):
            found[implied] = max(found[category], found.get(implied, 0.0))
    return found
