"""Every attribute and event name that our spans carry, in one place: the conventions of OpenTelemetry still move.

No value is ever a text of a prompt, a caption, a picture or a policy.
"""

from __future__ import annotations

from typing import Final

# OpenTelemetry semantic conventions: messaging
MESSAGING_SYSTEM: Final = "messaging.system"
OPERATION_TYPE: Final = "messaging.operation.type"
OPERATION_NAME: Final = "messaging.operation.name"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
OFFSET: Final = "messaging.kafka.offset"
MESSAGE_ID: Final = "messaging.message.id"

# remote calls
RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"

# generative AI
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_MODEL: Final = "gen_ai.request.model"
GEN_AI_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_SEED: Final = "gen_ai.request.seed"
GEN_AI_STREAM: Final = "gen_ai.request.stream"
GEN_AI_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # seconds
EVALUATION: Final = "gen_ai.evaluation.result"  # an event
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_LABEL: Final = "gen_ai.evaluation.score.label"

# of a process
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"

# ours
STAGE: Final = "captionstream.stage"
REFUSAL: Final = "captionstream.refusal.reason"
DECISION: Final = "captionstream.decision"
POLICY: Final = "captionstream.policy.id"
POLICY_VERSION: Final = "captionstream.policy.version"
MODEL: Final = "captionstream.model.name"
BATCH: Final = "captionstream.model.batch"
