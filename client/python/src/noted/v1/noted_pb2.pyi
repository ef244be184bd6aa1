from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
EVENT_ADJUSTMENT: Event
EVENT_CANCELLATION: Event
EVENT_CHANGE: Event
EVENT_DISPUTE: Event
EVENT_EXPIRY: Event
EVENT_PAYMENT: Event
EVENT_PAYMENT_FAILED: Event
EVENT_PAYMENT_PENDING: Event
EVENT_REACTIVATION: Event
EVENT_REFUND: Event
EVENT_REVERSAL: Event
EVENT_REVERSAL_CANCELED: Event
EVENT_SIGNUP: Event
EVENT_SUSPENSION: Event
EVENT_UNSPECIFIED: Event
EVIDENCE_NEW: Evidence
EVIDENCE_PAIRED: Evidence
EVIDENCE_SAME_MESSAGE: Evidence
EVIDENCE_SAME_REQUEST: Evidence
EVIDENCE_SAME_TRANSACTION: Evidence
EVIDENCE_TAKEN_OVER: Evidence
EVIDENCE_UNSPECIFIED: Evidence
STATE_HELD: State
STATE_OPEN: State
STATE_SETTLED: State
STATE_UNSPECIFIED: State
VERDICT_DUPLICATE: Verdict
VERDICT_FIRST: Verdict
VERDICT_HELD: Verdict
VERDICT_UNSPECIFIED: Verdict

class Donation(_message.Message):
    __slots__ = ["amount", "currency_code", "event", "ledger", "occurred_at", "series_id", "transaction_id"]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    amount: str
    currency_code: str
    event: Event
    ledger: str
    occurred_at: _timestamp_pb2.Timestamp
    series_id: str
    transaction_id: str
    def __init__(self, ledger: _Optional[str] = ..., series_id: _Optional[str] = ..., event: _Optional[_Union[Event, str]] = ..., occurred_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., amount: _Optional[str] = ..., currency_code: _Optional[str] = ..., transaction_id: _Optional[str] = ...) -> None: ...

class DonationExistsRequest(_message.Message):
    __slots__ = ["donation", "message"]
    DONATION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    donation: Donation
    message: Message
    def __init__(self, donation: _Optional[_Union[Donation, _Mapping]] = ..., message: _Optional[_Union[Message, _Mapping]] = ...) -> None: ...

class DonationExistsResponse(_message.Message):
    __slots__ = ["evidence", "exists", "note"]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    evidence: Evidence
    exists: bool
    note: Note
    def __init__(self, exists: bool = ..., note: _Optional[_Union[Note, _Mapping]] = ..., evidence: _Optional[_Union[Evidence, str]] = ...) -> None: ...

class ExtendHoldRequest(_message.Message):
    __slots__ = ["hold", "receipt"]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    hold: _duration_pb2.Duration
    receipt: str
    def __init__(self, receipt: _Optional[str] = ..., hold: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ExtendHoldResponse(_message.Message):
    __slots__ = ["note"]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: Note
    def __init__(self, note: _Optional[_Union[Note, _Mapping]] = ...) -> None: ...

class ForgetDonationRequest(_message.Message):
    __slots__ = ["donation_id", "ledger", "reason", "series_id"]
    DONATION_ID_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    donation_id: str
    ledger: str
    reason: str
    series_id: str
    def __init__(self, ledger: _Optional[str] = ..., series_id: _Optional[str] = ..., donation_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ForgetDonationResponse(_message.Message):
    __slots__ = ["note"]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: Note
    def __init__(self, note: _Optional[_Union[Note, _Mapping]] = ...) -> None: ...

class ListDonationsRequest(_message.Message):
    __slots__ = ["ledger", "noted_after", "noted_before", "page_size", "page_token", "seen_only_on", "series_id", "state", "transaction_id"]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    NOTED_AFTER_FIELD_NUMBER: _ClassVar[int]
    NOTED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SEEN_ONLY_ON_FIELD_NUMBER: _ClassVar[int]
    SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    ledger: str
    noted_after: _timestamp_pb2.Timestamp
    noted_before: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    seen_only_on: str
    series_id: str
    state: State
    transaction_id: str
    def __init__(self, ledger: _Optional[str] = ..., series_id: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., seen_only_on: _Optional[str] = ..., noted_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., noted_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., transaction_id: _Optional[str] = ...) -> None: ...

class ListDonationsResponse(_message.Message):
    __slots__ = ["next_page_token", "notes"]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    next_page_token: str
    notes: _containers.RepeatedCompositeFieldContainer[Note]
    def __init__(self, notes: _Optional[_Iterable[_Union[Note, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ["channel", "id", "received_at"]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    channel: str
    id: str
    received_at: _timestamp_pb2.Timestamp
    def __init__(self, channel: _Optional[str] = ..., id: _Optional[str] = ..., received_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Note(_message.Message):
    __slots__ = ["attempt", "donation", "donation_id", "forget_at", "held_until", "noted_at", "sightings", "state"]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DONATION_FIELD_NUMBER: _ClassVar[int]
    DONATION_ID_FIELD_NUMBER: _ClassVar[int]
    FORGET_AT_FIELD_NUMBER: _ClassVar[int]
    HELD_UNTIL_FIELD_NUMBER: _ClassVar[int]
    NOTED_AT_FIELD_NUMBER: _ClassVar[int]
    SIGHTINGS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    donation: Donation
    donation_id: str
    forget_at: _timestamp_pb2.Timestamp
    held_until: _timestamp_pb2.Timestamp
    noted_at: _timestamp_pb2.Timestamp
    sightings: _containers.RepeatedCompositeFieldContainer[Sighting]
    state: State
    def __init__(self, donation_id: _Optional[str] = ..., donation: _Optional[_Union[Donation, _Mapping]] = ..., sightings: _Optional[_Iterable[_Union[Sighting, _Mapping]]] = ..., state: _Optional[_Union[State, str]] = ..., noted_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., held_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., forget_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ...) -> None: ...

class NoteDonationRequest(_message.Message):
    __slots__ = ["donation", "hold", "message", "request_id"]
    DONATION_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    donation: Donation
    hold: _duration_pb2.Duration
    message: Message
    request_id: str
    def __init__(self, donation: _Optional[_Union[Donation, _Mapping]] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., hold: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class NoteDonationResponse(_message.Message):
    __slots__ = ["differences", "evidence", "note", "receipt", "retry_after", "shadow_verdict", "verdict"]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    SHADOW_VERDICT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    differences: _containers.RepeatedScalarFieldContainer[str]
    evidence: Evidence
    note: Note
    receipt: str
    retry_after: _duration_pb2.Duration
    shadow_verdict: Verdict
    verdict: Verdict
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., note: _Optional[_Union[Note, _Mapping]] = ..., evidence: _Optional[_Union[Evidence, str]] = ..., receipt: _Optional[str] = ..., retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., differences: _Optional[_Iterable[str]] = ..., shadow_verdict: _Optional[_Union[Verdict, str]] = ...) -> None: ...

class NoteDonationsRequest(_message.Message):
    __slots__ = ["request"]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: NoteDonationRequest
    def __init__(self, request: _Optional[_Union[NoteDonationRequest, _Mapping]] = ...) -> None: ...

class NoteDonationsResponse(_message.Message):
    __slots__ = ["error", "response"]
    class Error(_message.Message):
        __slots__ = ["code", "message", "reason"]
        CODE_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        code: int
        message: str
        reason: str
        def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    error: NoteDonationsResponse.Error
    response: NoteDonationResponse
    def __init__(self, response: _Optional[_Union[NoteDonationResponse, _Mapping]] = ..., error: _Optional[_Union[NoteDonationsResponse.Error, _Mapping]] = ...) -> None: ...

class ReleaseDonationRequest(_message.Message):
    __slots__ = ["reason", "receipt"]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    receipt: str
    def __init__(self, receipt: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReleaseDonationResponse(_message.Message):
    __slots__ = ["note"]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: Note
    def __init__(self, note: _Optional[_Union[Note, _Mapping]] = ...) -> None: ...

class SettleDonationRequest(_message.Message):
    __slots__ = ["reason", "receipt"]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    receipt: str
    def __init__(self, receipt: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SettleDonationResponse(_message.Message):
    __slots__ = ["note"]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: Note
    def __init__(self, note: _Optional[_Union[Note, _Mapping]] = ...) -> None: ...

class Sighting(_message.Message):
    __slots__ = ["message", "seen_at", "transaction_id"]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_ID_FIELD_NUMBER: _ClassVar[int]
    message: Message
    seen_at: _timestamp_pb2.Timestamp
    transaction_id: str
    def __init__(self, message: _Optional[_Union[Message, _Mapping]] = ..., transaction_id: _Optional[str] = ..., seen_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Event(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class Evidence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
