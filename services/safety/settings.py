"""What the safety service is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SafetySettings(BaseSettings):
    """Environment variables `CAPTIONSTREAM_SAFETY_*`."""

    model_config = SettingsConfigDict(env_prefix="CAPTIONSTREAM_SAFETY_", frozen=True)

    policy: str = Field(default="default", description="`default`, `strict`, or the path of a policy file")
    languages: tuple[str, ...] = Field(
        default=("en", "es"), min_length=1, description="primary subtags; JSON list"
    )

    def policy_path(self) -> Path | None:
        """The path of the file, or None for a bundled policy."""
        return Path(self.policy) if "/" in self.policy or self.policy.endswith((".yaml", ".yml")) else None
