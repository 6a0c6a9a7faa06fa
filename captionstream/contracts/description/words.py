"""What the page and the AsyncAPI document say beside what the models and the table say themselves."""

from __future__ import annotations

from captionstream.contracts.messages import RefusalReason

READ_COMMITTED = (
    "Read with isolation.level=read_committed. Answers are written in transactions; Java clients and aiokafka "
    "show what was never committed unless they are told, librdkafka and kcat do not."
)
UNKNOWN = (
    "Ignore fields that you do not know, pass over record types (ce_type) that you do not know, and expect new "
    "values in lists of names: all three come without notice. What would break a reader goes to a new topic."
)
KEY = "Events with one key stay in order: the stream (camera) where there is one, else the event."
IDENTITY = (
    "An event is (tenant, source, id, revision). The same one again gets no second answer. id, source and "
    "tenant may stand in the headers ce_id, ce_source and ce_tenant instead; the body wins. A structured "
    "CloudEvent (content-type application/cloudevents+json) is taken too, the event in its data; so is a bucket's "
    "notification of a new object, as S3 and MinIO write it."
)
VIEW = (
    "Described from the platform's point of view: it *receives* what publishers send and *sends* what consumers "
    "read. A publisher sends on image-events; a consumer receives captions. Topics between two stages show both."
)
REASONS: dict[RefusalReason, str] = {
    RefusalReason.MALFORMED: "The event is not a valid image event. captionstream contracts check says where.",
    RefusalReason.UNFETCHABLE: "Nothing could be fetched from the reference.",
    RefusalReason.FORBIDDEN_ADDRESS: "The reference leads where the platform must not go.",
    RefusalReason.UNDECODABLE: "The bytes are not an image that is read.",
    RefusalReason.TOO_LARGE: "Bytes, pixels or record over a limit.",
    RefusalReason.UNSUPPORTED: "A language, profile or format that is not served.",
    RefusalReason.MIXED_ENCODERS: "The encoding comes from models that this generator does not know.",
    RefusalReason.TOO_LATE: "The event's deadline passed.",
    RefusalReason.UNAVAILABLE: "An engine stayed away for too long. Send it again with a higher revision.",
    RefusalReason.BLOCKED: "Policy forbids an answer.",
    RefusalReason.INTERNAL: "A defect of the platform; operators have the event in dead-letters.",
}
