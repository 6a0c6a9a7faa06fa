"""What rides beside a caption: scene, claims, inspection, long description. It leaves under the same policy.

A caption without an e-mail address is of no use when the text of the sign travels next to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from captionstream.contracts.messages import CaptionDrafted, CheckFinding, Claim, ClaimKind, Draft
from captionstream.contracts.scene import Finding, Scene
from services.safety.choice import Judge


@dataclass(frozen=True, slots=True)
class Facts:
    """What may be published beside the text. `findings` have no place: they are not about the caption."""

    scene: Scene
    claims: tuple[Claim, ...]
    inspection: tuple[Finding, ...]
    long_description: str | None
    findings: tuple[CheckFinding, ...]


@dataclass(slots=True)
class FactChecker:
    """Collects findings on the way. A text that must not be shown takes its fact with it."""

    judge: Judge
    candidate: int = 0
    findings: list[CheckFinding] = field(default_factory=list)

    def facts(self, drafted: CaptionDrafted, draft: Draft) -> Facts:
        scene = self.scene(drafted.scene)
        claims = tuple(filter(None, map(self.claim, draft.claims)))
        inspection = tuple(finding for finding in drafted.inspection if self.whole(finding))
        long = self.shown("long-description", draft.long_description) if draft.long_description else None
        return Facts(scene, claims, inspection, long, tuple(dict.fromkeys(self.findings)))

    def scene(self, scene: Scene) -> Scene:
        if scene.text is None:
            return scene
        text = self.shown("scene-text", scene.text.text, quotation=True)
        quoted = scene.text.model_copy(update={"text": text}) if text is not None else None
        return scene.model_copy(update={"text": quoted})

    def claim(self, claim: Claim) -> Claim | None:
        text = self.shown("claim", claim.text, quotation=claim.kind is ClaimKind.QUOTATION)
        return claim.model_copy(update={"text": text}) if text is not None else None

    def whole(self, finding: Finding) -> bool:
        texts = filter(None, (finding.component, finding.finding, finding.sensor_time))
        return all(self.shown("inspection", text) == text for text in texts)

    def shown(self, where: str, text: str, *, quotation: bool = False) -> str | None:
        shown, findings = self.judge.shown(text, quotation=quotation)
        self.findings += [
            CheckFinding(
                check=finding.check,
                rule=f"{where}/{finding.rule}",
                score=finding.score,
                candidate=self.candidate,
            )
            for finding in findings
        ]
        return shown
