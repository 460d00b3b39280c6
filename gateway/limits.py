"""The gateway's limits, each with its reason."""

from dc.names.attributes import REGISTER_CHARACTERS_MAX

KEY_BYTES_MAX = 1024
"""S3's own."""

OBJECT_BYTES_MAX = 5 << 40
"""S3's own, for an object of many parts."""

PUT_BYTES_MAX = 5 << 30
"""S3's own, for one PUT, one part, one copy."""

SMALL_BYTES_MAX = 1 << 20
"""Bodies up to here are gathered and stored with one call; larger ones are streamed."""

BLOCK_BYTES = 1 << 20
"""Large bodies are hashed and written in blocks of about this size."""

PART_BYTES_MIN = 5 << 20
"""S3's own, for all parts but the last."""

PART_NUMBER_MAX = 10_000
"""S3's own."""

XML_BYTES_MAX = 2 << 20
"""An XML body: 10,000 parts with checksums, or 1,000 deletes with keys of 1,024 bytes, fit."""

XML_ELEMENTS_MAX = 100_000
"""10,000 parts, each with its number, ETag and all checksums there are, fit."""

XML_ATTRIBUTES_MAX = 16
"""Of one element: S3's documents have none but namespaces."""

XML_CREATE_BUCKET_BYTES_MAX = 64 << 10
"""CreateBucketConfiguration is a few hundred bytes."""

DELETE_KEYS_MAX = 1000
"""S3's own."""

STORAGE_CLASSES = frozenset(
    (
        *("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"),
        *("GLACIER", "DEEP_ARCHIVE", "GLACIER_IR"),
    )
)
"""Those that S3 takes for objects of buckets like these. Here they are names: all objects are kept
alike, and can be read at once."""

LIST_KEYS_MAX = 1000
"""S3's own, for every listing."""

USER_METADATA_BYTES_MAX = 2048
"""S3's own: the sum of names and values of x-amz-meta-*."""

SYSTEM_METADATA_BYTES_MAX = 2048
"""S3's own: the sum of the values that are stored of the standard headers."""

BUCKETS_PER_USER_MAX = 1000
"""ListBuckets answers in one page unless asked otherwise; Amazon's default is 100 (now 10,000)."""
BUCKETS_PER_PAGE_MAX = 10_000
"""S3's own: of a ListBuckets that names a number."""

LINE_BYTES_MAX = 16 << 10
"""A request line: 1,024 bytes of key are 3,072 encoded, a presigned query up to some KiB."""

FIELD_BYTES_MAX = 8 << 10
"""One header: more than all metadata together."""

HEADERS_MAX = 100
"""Headers of a request: 2 KiB of metadata are at most 90 or so that anyone sends."""

FORM_BYTES_MAX = 20 << 10
"""S3's own: the fields of a form that is posted, without its file."""

READ_BUFFER_BYTES = 512 << 10
"""What one connection may hold of a body that is not taken yet (twice that, at the very most)."""

WRITE_BUFFER_BYTES = 1 << 20
"""What one connection may hold of an answer that the client has not taken yet."""

DRAIN_BYTES_MAX = 8 << 20
"""How much of a body that was refused is read and thrown away so that the answer arrives."""

DRAIN_S = 5.0
"""How long that may take."""

BODY_IDLE_S = 30.0
"""A client that sends nothing of its body for so long gets RequestTimeout."""

WRITE_IDLE_S = 60.0
"""A client that takes nothing of its answer for so long is cut off."""

KEEPALIVE_S = 75.0
"""A connection without a request is closed after this; so is one whose headers do not end."""

OBJECT_TAGS_MAX = 10
"""S3's own."""

BUCKET_TAGS_MAX = 50
"""S3's own."""

TAG_KEY_CHARS_MAX = 128
"""S3's own."""

TAG_VALUE_CHARS_MAX = 256
"""S3's own."""

LIFECYCLE_RULES_MAX = 1000
"""S3's own."""

LIFECYCLE_DAYS_MAX = (1 << 31) - 1
"""S3's own."""

NEWER_NONCURRENT_MAX = 100
"""S3's own."""

NOTIFICATION_TARGETS_MAX = 100
"""S3's own."""

TOPIC_CHARS_MAX = 256
"""Of an SNS topic, S3's own."""

POLICY_BYTES_MAX = 20 << 10
"""S3's own: a bucket's policy without the white space around its elements."""

POLICY_SPACE_BYTES_MAX = 80 << 10
"""The same with it: nobody indents by more."""

ACL_GRANTS_MAX = 100
"""S3's own, of one access control list."""

POLICY_SEARCHES_MAX = 8
"""Patterns of a policy with a `?` between two `*`. To look for one in the 16 KiB that a request can
send takes up to a millisecond; 20 KiB hold thousands of them, and each request would wait."""

POLICY_WILD_ACTIONS_MAX = 256
"""Actions of a policy with wildcards, each of which is compared with all that there are."""

POLICIES_BYTES_REMEMBERED = 512 << 10
"""Of documents of policies that are kept compiled. Compiled they take up to 110 times as much."""

SETTING_BYTES_MAX = REGISTER_CHARACTERS_MAX
"""One setting of a bucket, as it is kept: what is longer, no other datacenter would take."""

CORS_RULES_MAX = 100
"""S3's own."""

WEBSITE_RULES_MAX = 50
"""S3's own, of routing rules."""

RULE_ID_CHARS_MAX = 255
"""S3's own, for the id of any rule of a bucket's settings."""

REPLICATION_RULES_MAX = 1000
"""S3's own."""

POSITIONS_MAX = 32
"""Of writes that a request may wait for: each is looked at whenever one of them comes."""

POSITIONS_TOLD_MAX = 32
"""Of the writes of one request that are told: as many as one request may wait for."""

POSITION_WAIT_S = 10.0
"""How long a request waits for them. Small changes take less than a second between continents."""

POSITION_WAIT_S_MAX = 60.0
"""How long it may ask to: Amazon's clients give a request up after as much."""
