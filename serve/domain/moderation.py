"""What may not be asked for or shown here, and what happens when it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from serve.domain.errors import ContentPolicyViolation, PolymodalError
from serve.domain.messages import Judgement
from serve.domain.ports import Moderator
from serve.domain.timecode import clock

_log = logging.getLogger(__name__)

# OpenAI's categories, and one of ours.
# Source: https://platform.openai.com/docs/guides/moderation#content-classifications
CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
    "prompt_injection",
)
_FLAGGED_FROM: Final = 0.5
# Its model gives half of that to plain requests for pictures.
_FLAGGED_FROM_OTHERWISE: Final = {"prompt_injection": 0.85, "illicit": 0.6}


class Consequence(StrEnum):
    """What follows when a category's score reaches its threshold."""

    OFF = "off"
    REPORT = "report"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Rule:
    """For one category. ``threshold``: the score, 0 to 1, from which it is flagged."""

    consequence: Consequence
    threshold: float


@dataclass(frozen=True, slots=True)
class ModerationRules:
    """A rule for every category. Written as ``report`` or ``report,sexual=refuse:0.8``."""

    rules: Mapping[str, Rule]

    @classmethod
    def parse(cls, text: str) -> ModerationRules:
        """From ``<consequence>`` for all and ``<category>=<consequence>[:<threshold>]`` for one.

        Raises:
            ValueError: the message goes behind the setting's name.
        """
        rules = {each: Rule(Consequence.OFF, _threshold(each)) for each in CATEGORIES}
        for part in filter(None, (part.strip() for part in text.split(","))):
            category, equals, how = part.rpartition("=")
            if equals and category not in CATEGORIES:
                raise ValueError(f"names no category {category!r}; there are {_CHOICES}")
            consequence, _, threshold = how.partition(":")
            for each in (category,) if equals else CATEGORIES:
                rules[each] = Rule(
                    _consequence(consequence),
                    _fraction(threshold) if threshold else rules[each].threshold,
                )
        return cls(rules)

    @property
    def is_off(self) -> bool:
        """Nothing would follow from any score."""
        return all(rule.consequence is Consequence.OFF for rule in self.rules.values())

    @property
    def refuses(self) -> bool:
        """Something may be refused."""
        return any(rule.consequence is Consequence.REFUSE for rule in self.rules.values())

    def flagged(self, judgement: Judgement) -> tuple[str, ...]:
        """The categories whose score reaches the threshold, whatever follows."""
        return tuple(
            name
            for name, rule in self.rules.items()
            if judgement.scores.get(name, 0.0) >= rule.threshold
        )

    def __str__(self) -> str:
        return ",".join(
            f"{name}={rule.consequence.value}:{rule.threshold:g}"
            for name, rule in self.rules.items()
        )


_CHOICES: Final = ", ".join(CATEGORIES)


def _threshold(category: str) -> float:
    return _FLAGGED_FROM_OTHERWISE.get(category, _FLAGGED_FROM)


def _consequence(text: str) -> Consequence:
    try:
        return Consequence(text)
    except ValueError:
        raise ValueError(f"has {text!r}, which is not one of off, report, refuse") from None


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"has the threshold {text!r}, which is not between 0 and 1")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPolicy:
    """Asks the moderator and acts on what it says, as the rules want.

    ``covers_responses``: what is written to a generator is checked too.
    """

    moderator: Moderator
    text_rules: ModerationRules
    picture_rules: ModerationRules
    covers_responses: bool = field(default=False)

    async def check_text(self, text: str, *, param: str = "prompt") -> tuple[str, ...]:
        """The categories that were reported.

        Raises ``ContentPolicyViolation``; and when the moderator cannot be asked, its error,
        if its answer might have been a refusal.
        """
        if not text.strip() or self.text_rules.is_off:
            return ()
        try:
            (judgement,) = await self.moderator.judge_texts((text,))
        except PolymodalError as error:
            return _unasked(self.text_rules, error)
        return _acted(self.text_rules, judgement, "text", param)

    async def check_picture(
        self, content: bytes, *, param: str = "image", at_s: float | None = None
    ) -> tuple[str, ...]:
        """As ``check_text``, of the bytes of a sanitised picture or of one made here.

        ``at_s``: it is one look at a video, so many seconds from its start.
        """
        if self.picture_rules.is_off:
            return ()
        try:
            judgement = await self.moderator.judge_picture(content)
        except PolymodalError as error:
            return _unasked(self.picture_rules, error)
        what = "picture" if at_s is None else f"video at {clock(at_s)}"
        return _acted(self.picture_rules, judgement, what, param)


def _unasked(rules: ModerationRules, error: PolymodalError) -> tuple[str, ...]:
    if rules.refuses:
        raise error
    _log.warning("moderator did not answer", extra={"code": error.code})
    return ()


def _acted(rules: ModerationRules, judgement: Judgement, what: str, param: str) -> tuple[str, ...]:
    reported = []
    for category in rules.flagged(judgement):
        match rules.rules[category].consequence:
            case Consequence.REFUSE:
                _log.info("content refused", extra={"category": category, "what": what})
                raise ContentPolicyViolation(
                    f"this {what} is not taken or given out here: it was judged to be "
                    f"{category!r} (score {judgement.scores[category]:.2f}). Change it and try "
                    "again, or ask whoever runs this service to change its moderation rules.",
                    param=param,
                    category=category,
                )
            case Consequence.REPORT:
                _log.info("content reported", extra={"category": category, "what": what})
                reported.append(category)
            case Consequence.OFF:
                continue
    return tuple(reported)
