"""What a registry can do, and what is done where it can't."""

from __future__ import annotations

from typing import Final

from ocimlpack.app.diagnosis import Case, Fact, Section, State
from ocimlpack.stores import probe, trials
from ocimlpack.stores.inquiry import Ability, Answer

_STATES: Final[dict[Answer, State]] = {"yes": "ok", "no": "no", "unknown": "unknown"}

_INSTEAD: Final = {
    probe.REPOSITORIES: "name the repository yourself",
    probe.TAGS: "name the tag or the digest yourself",
    probe.RANGES: "large files come over one connection each",
    probe.REFERRERS: "a tag lists them, sha256-DIGEST",
    trials.PARTS: "each file goes in one request, and begins anew where that breaks off",
    trials.STANDING: "an upload that breaks off begins anew",
    trials.STREAMS: "all sizes are known here: it is not needed",
    trials.MOUNTS: "the bytes are sent",
    trials.DELETION: "the registry's own tools",
    trials.UNTAGGING: "ocimlpack rm REPO@DIGEST, which removes all its tags",
    trials.ARTIFACT_TYPE: "--image-config --artifact-type none",
    trials.CONFIG: "--image-config",
}
"""What transfers do, or a person can do, where an ability is missing."""


def section(case: Case) -> Section | None:
    """Try what the registry can do, and remember it for transfers."""
    if case.session is None:
        return None
    facts: list[Fact] = []
    if case.repository:
        probed = probe.probe(case.session, case.repository, case.name, write=case.write)
        _judge(case, probed)
        facts += map(_fact, probed.abilities)
        largest = f"{probed.largest:,} bytes, as an upload has shown" if probed.largest else ""
        facts.append(Fact("largest request", largest or "no limit has shown"))
    facts.append(_fact(probe.probe_host(case.session)))
    return Section("abilities", tuple(facts), case.place)


def _fact(ability: Ability) -> Fact:
    instead = _INSTEAD.get(ability.name, "") if ability.answer == "no" else ""
    return Fact(ability.name, ability.detail, _STATES[ability.answer], instead)


def _judge(case: Case, probed: probe.Probed) -> None:
    answers = {ability.name: ability for ability in probed.abilities}
    if probed.exists is None and probed.errors:
        case.fail(probed.errors[0])
    elif probed.exists is False and case.write is None:
        case.note(
            f"{case.place} has no model yet, so nothing that writes was tried",
            "--write tries it all the same; some registries then make the repository",
        )
    if probed.absent and probed.exists:
        case.note(f"there is no {probed.absent} in {case.place}", f"ocimlpack tags {case.place}")
    if answers[trials.UPLOADS].answer == "no":
        case.note(f"{case.host} takes no uploads", "it may be a cache, or be set to be read only")
    for name in (trials.ARTIFACT_TYPE, trials.CONFIG):
        if answers[name].answer == "no":
            case.note(
                f"{case.host} refuses what models have and images don't: {name}",
                f"ocimlpack push DIR REF {_INSTEAD[name]}",
            )
    if answers[trials.LAYERS].answer == "no":
        case.note(f"{case.host} refuses layers that are no image's: no model can be sent there")
    for each in probed.left:
        case.note(f"left behind in trying: {each}", "tell who runs the registry")
