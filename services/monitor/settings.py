"""What the monitor is told: from which value on something is an anomaly."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class MonitorSettings(BaseSettings):
    """Environment variables `CAPTIONSTREAM_MONITOR_*`. All measures are over the last five minutes of a profile."""

    model_config = SettingsConfigDict(env_prefix="CAPTIONSTREAM_MONITOR_", frozen=True)

    refusals: float = Field(default=0.3, gt=0, le=1, description="share of refused among answers")
    repetition: float = Field(
        default=0.5, gt=0, le=1, description="share of captions that another picture had before"
    )
    drift: float = Field(
        default=0.25, gt=0, description="stability index of confidence; 0.25 is a major shift"
    )
    latency_s: float = Field(default=30.0, gt=0, description="95th percentile from event to answer")
    least_answers: int = Field(default=30, ge=1, description="fewer are no evidence: 1 of 2 is no wave")
