"""Which engine is asked for one event, and why: a plain function over values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from captionstream.contracts.messages import Archetype, Egress, EngineChoice, Event, Form
from services.generator.lineup import PLAIN, Engine, Lineup, Route, When, allows

LONGEST_REASON = 500
ONE_WORDING = "only one sentence is possible"


@dataclass(frozen=True, slots=True)
class Situation:
    """What holds at the moment of the choice.

    `left_s` is the time to the deadline, None without one. `one_wording`: the scene's grammar has one sentence
    only, so that nobody needs to be asked for a strict one. `set_aside` are engines that are not asked any more, each
    with the reason: it was asked before, or rests. `costs` are what captions of an engine cost of late.
    """

    left_s: float | None = None
    has_visual: bool = False
    has_picture: bool = False
    one_wording: bool = False
    set_aside: Mapping[str, str] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who writes, how far it is bound, and what stands on the message. `engine` is None for the plain sentence."""

    engine: Engine | None
    form: Form
    choice: EngineChoice

    @property
    def name(self) -> str:
        return self.choice.engine


def choose(lineup: Lineup, event: Event, now: Situation) -> Chosen:
    """The first route whose conditions hold, whose engine may have and has what it needs; else the plain sentence."""
    against: dict[str, str] = {}
    for route in lineup.routes:
        if route.engine == PLAIN:
            if (objection := _unmet(route.when, event, now, 0.0)) is None:
                return _plain("the route says so", against)
            against[f"{PLAIN} route"] = objection
        elif (objection := _objection(lineup, route, event, now)) is None:
            return _engine(lineup, route, event, against)
        else:
            against[route.engine] = objection
    return _plain("no engine is left to ask" if against else "no engine is set up", against)


def in_order(lineup: Lineup, event: Event, now: Situation) -> Iterator[Chosen]:
    """Who would be asked, one after the other, if each of them failed. The plain sentence is the last."""
    while True:
        chosen = choose(lineup, event, now)
        yield chosen
        if chosen.engine is None:
            return
        now = replace(now, set_aside={**now.set_aside, chosen.name: "failed"})


def explained(choice: EngineChoice, how: str) -> EngineChoice:
    """The choice with what the engine itself told of how it wrote: `split: visual tokens present, by ...`."""
    if not how:
        return choice
    first, *skipped = choice.reason.split("; ", 1)
    reason = "; ".join([f"{first}, {how}", *skipped])[:LONGEST_REASON]
    return choice.model_copy(update={"reason": reason})


def plain(why: str) -> EngineChoice:
    return EngineChoice(engine=PLAIN, archetype=Archetype.PLAIN, sent=Egress.NOTHING, reason=why)


# ---------------------------------------------------------------- what speaks against an engine


def _objection(lineup: Lineup, route: Route, event: Event, now: Situation) -> str | None:
    engine = lineup.engines[route.engine]
    form = lineup.form(route, event.profile)
    return (
        now.set_aside.get(route.engine)
        or _unmet(route.when, event, now, now.costs.get(route.engine, engine.cost))
        or (ONE_WORDING if now.one_wording and form is Form.STRICT and not engine.always else None)
        or _forbidden(lineup, engine, event.tenant)
        or _lacking(engine, now)
    )


def _unmet(when: When, event: Event, now: Situation, cost: float) -> str | None:
    """The first condition that does not hold."""
    if when.profiles and event.profile not in when.profiles:
        return f"not for profile {event.profile}"
    if when.purposes and event.purpose not in when.purposes:
        return f"not for purpose {event.purpose}"
    if when.languages and not any(_is_language(event.language, told) for told in when.languages):
        return f"not for language {event.language}"
    if when.tenants and event.tenant not in when.tenants:
        return "not for this tenant"
    if when.least_s is not None and now.left_s is not None and now.left_s < when.least_s:
        return f"{max(0.0, now.left_s):.1f} s left, needs {when.least_s:g}"
    if when.most_cost is not None and cost > when.most_cost:
        return f"costs {cost:.2g}, at most {when.most_cost:g} is allowed"
    return None


def _is_language(wanted: str, told: str) -> bool:
    wanted, told = wanted.lower(), told.lower()
    return wanted == told or wanted.startswith(f"{told}-")


def _forbidden(lineup: Lineup, engine: Engine, tenant: str) -> str | None:
    rule = lineup.egress.of(tenant)
    if allows(rule, engine.leaves):
        return None
    said = "lets nothing leave" if rule is Egress.NOTHING else f"lets only {rule} leave"
    return f"tenant {tenant[:40]} {said}"


def _lacking(engine: Engine, now: Situation) -> str | None:
    if engine.reads is Egress.EMBEDDINGS and not now.has_visual:
        return "no visual tokens"
    if engine.reads is Egress.PIXELS and not now.has_picture:
        return "no picture"
    return None


# ---------------------------------------------------------------- what is said of the choice

WHY = {
    Archetype.SPLIT: "visual tokens present",
    Archetype.END_TO_END: "a picture is there",
    Archetype.EVIDENCE: "told in words",
    Archetype.PLAIN: "no language model",
}


def _engine(lineup: Lineup, route: Route, event: Event, against: Mapping[str, str]) -> Chosen:
    engine = lineup.engines[route.engine]
    choice = EngineChoice(
        engine=route.engine,
        archetype=engine.archetype,
        sent=engine.leaves,
        reason=_sentence(route.engine, WHY[engine.archetype], against),
    )
    return Chosen(engine, lineup.form(route, event.profile), choice)


def _plain(why: str, against: Mapping[str, str]) -> Chosen:
    return Chosen(None, Form.STRICT, plain(_sentence(PLAIN, why, against)))


def _sentence(name: str, why: str, against: Mapping[str, str]) -> str:
    """`split: visual tokens present; remote skipped: tenant acme lets only text leave`."""
    skipped = (f"; {other} skipped: {objection}" for other, objection in against.items() if other != name)
    return f"{name}: {why}{''.join(skipped)}"[:LONGEST_REASON]
