"""Every bound of the replicator, in one place, each with its reason."""

from typing import Final

from dc.names import attributes

KIB: Final = 1024
MIB: Final = 1024 * KIB

# -- the feed stream ----------------------------------------------------------------------------

# What a consumer takes into memory at once; a record with 10,000 parts is near 2 MiB.
FRAME_BYTES_MAX: Final = 8 * MIB
# What a record may have that is alone in its frame.
RECORD_BYTES_MAX: Final = FRAME_BYTES_MAX - KIB
# A batch is closed when it has this much, so that no frame comes near the limit.
BATCH_BYTES: Final = 2 * MIB
RECORDS_MAX: Final = 2000
# Between batches, when the stream is at the feed's end: single changes are not held up, and a load
# of thousands a second comes in fifty batches.
BATCH_GAP_SECONDS: Final = 0.02
# Items read from the feed at once: enough for thousands a round trip, not all in one transaction.
FEED_ITEMS: Final = 400
# Bodies up to this size travel inside the batch; it is also what an object server calls small.
INLINE_BYTES_MAX: Final = 256 * KIB
# Batches received and not yet stored, stored and not yet applied: what pipelining may hold.
PIPELINE_BATCHES: Final = 2
# Bodies that had to be read from the disk for a batch, at the same time.
COLD_READS_MAX: Final = 32

KEEPALIVE_SECONDS: Final = 10.0
# Three keepalives missed: the link is dead, whatever TCP thinks.
SILENCE_SECONDS_MAX: Final = 30.0
# A consumer that takes no bytes for this long is cut off; it resumes with its cursor.
STALLED_SECONDS_MAX: Final = 60.0
# Positions with nothing to send are told at most this often: each costs the consumer a commit.
PROGRESS_SECONDS: Final = 0.25
# Streams one peer may hold open: its old one, not yet noticed to be dead, and its new one.
STREAMS_PER_PEER_MAX: Final = 2

# -- bodies -------------------------------------------------------------------------------------

RANGE_BYTES: Final = 8 * MIB
# Progress is stored range by range, so very large bodies take larger ranges.
RANGES_PER_BODY_MAX: Final = 2000
RANGES_AT_ONCE: Final = 4
LARGE_AT_ONCE: Final = 3
# Ranges of all large bodies of a peer: bounds memory, with what each holds in buffers.
LARGE_RANGES_AT_ONCE: Final = 6
SMALL_AT_ONCE: Final = 16
INBOX_PAGE: Final = 500
# How much of an inbox is looked through at once for what may be started.
INBOX_LOOKED_MAX: Final = 10_000
# How often a non-empty inbox is looked through for what has become due.
INBOX_POLL_SECONDS: Final = 0.5
# An empty one is told when something comes; this is for the day when that goes wrong.
INBOX_IDLE_SECONDS: Final = 60.0
# A relayed body usually comes by the straight way first.
RELAY_DELAY_MS: Final = 300
OBJECT_BYTES_MAX: Final = 50 * 1024 * 1024 * MIB

# -- retries ------------------------------------------------------------------------------------

RETRY_FIRST_SECONDS: Final = 0.2
RETRY_MAX_SECONDS: Final = 15.0
# Who refuses us will hardly change its mind; it tells us by connecting when it does.
REFUSED_RETRY_SECONDS: Final = 60.0
# A single change that fails: bounded so that a fixed cause is noticed within minutes.
CHANGE_RETRY_MAX_SECONDS: Final = 300.0
# A stream that lived this long, or brought anything, worked: back-off starts anew.
WORKED_SECONDS: Final = 5.0

# -- requests -----------------------------------------------------------------------------------

CONNECT_SECONDS_MAX: Final = 10.0
REQUEST_SECONDS_MAX: Final = 30.0
REQUEST_BODY_BYTES_MAX: Final = 64 * KIB
ANSWER_BYTES_MAX: Final = 64 * KIB
READ_BUFFER_BYTES: Final = 1 * MIB
ACK_SECONDS: Final = 0.1
# An acknowledgement says also that this DC is there; whoever is silent too long is not waited for.
ACK_IDLE_SECONDS: Final = 60.0
PAIRING_WAIT_SECONDS: Final = 30.0

# -- what a record may hold ---------------------------------------------------------------------

KEY_BYTES_MAX: Final = 1024
NAME_CHARACTERS_MAX: Final = 255
EMAIL_CHARACTERS_MAX: Final = 320
# S3 allows 2 KB of user metadata and 8 KB of headers in all.
HEADERS_MAX: Final = 4096
HEADER_CHARACTERS_MAX: Final = 8 * KIB
PARTS_MAX: Final = 10_000
SECRET_BYTES_MAX: Final = 1 * KIB
# Attributes of a bucket or version. No join leaves more, and no gateway sets longer ones.
REGISTERS_MAX: Final = attributes.REGISTERS_MAX
REGISTER_CHARACTERS_MAX: Final = attributes.REGISTER_CHARACTERS_MAX
# Of coverage: a few for each DC that ever was.
INTERVALS_MAX: Final = 4096
# Changes that cannot be applied, told to who made them.
FAILING_TOLD_MAX: Final = 50
# Changes that are not finished, told likewise: an acknowledgement stays small.
UNFINISHED_TOLD_MAX: Final = 500
# Changes of its own that a peer has told of, which are then not told to it: what a stream sends is
# seldom further behind. Beyond, a record goes back in vain.
TOLD_MAX: Final = 20_000
# How long after its start a DC says nothing new of what it covers of its own. A peer that was put
# back at the same time has time to get from its own peers what this DC made and forgot, too.
GAP_SECONDS: Final = 600.0
# How often the name server's chores are done; also the grain of coverage.
UPKEEP_SECONDS: Final = 30.0
# The same when there was more to collect than fits in one transaction: others want to commit, too.
UPKEEP_AGAIN_SECONDS: Final = 0.5

STOP_SECONDS: Final = 2.0
STOP_TURNS: Final = 10
PAIRING_POLL_SECONDS: Final = 0.05
PEERS_MAX: Final = 64

# -- status -------------------------------------------------------------------------------------

# A consumer that was not caught up for this long is BEHIND, no longer STREAMING.
BEHIND_SECONDS: Final = 2.0
MEASURE_SECONDS: Final = 1.0
# Who asks for the status again and again does not have conflicts counted each time.
CONFLICTS_SECONDS: Final = 1.0
# Positions looked at in one go for what a peer has not acknowledged: some 30 ms of a thread.
BACKLOG_POSITIONS_MAX: Final = 10_000
# How often that is done when there are more.
BACKLOG_SECONDS: Final = 2.0
# Until the next stretch, when the first had nothing for the peer.
BACKLOG_PAGE_SECONDS: Final = 0.1
# How often at most a peer is asked for its root, and, when we are behind, for how much.
ROOTS_SECONDS: Final = 3.0
ASK_SECONDS: Final = 1.0
# The peer's feed has more, and for this long nothing of it came: the stream is opened anew.
FILL_TICK_SECONDS: Final = 1.0
"""How often it is looked whether bodies are to be filled in, when something has changed."""
FILL_SECONDS: Final = 2.0
"""How often they are asked for."""
FILL_AGAIN_SECONDS: Final = 60.0
"""How long a body that was asked for may take before somebody else is asked."""
TO_COME_SECONDS_MAX: Final = 3.0
"""How long a comparison waits for bodies that are to come."""
FILL_INBOX_MAX: Final = 2_000
"""Bodies are not asked of a peer of whose changes more than so many are unfinished."""
FILL_FAILING_MAX: Final = 20_000
"""So many that fail do not count."""
FILL_PAGES_MAX: Final = 8
"""Pages of bodies that are asked for in one look."""
FILL_ASKED_MAX: Final = 50_000
"""Bodies of which it is remembered whom they were asked of, some 20 MiB."""
STUCK_SECONDS_MAX: Final = 60.0
# Frames without news are shorter.
NEWS_BYTES_MIN: Final = 1 * KIB
PROBLEMS_SHOWN: Final = 20
ERROR_CHARACTERS_MAX: Final = 300

# -- comparing ----------------------------------------------------------------------------------

# Bucket ids in one answer: some 1.2 MB.
COMPARE_BUCKETS_MAX: Final = 20_000
# Pages of anything taken from a peer in one comparison: 200 billion keys, or one that never ends.
COMPARE_PAGES_MAX: Final = 1_000_000
# Keys that a name server reads in one go: some 25 ms of a thread.
COMPARE_PAGE_KEYS: Final = 20_000
# The same when most keys read are also items found, which cost more.
COMPARE_PAGE_ITEMS: Final = 2_000
# Keys read for one request, so that it is answered within a second.
COMPARE_KEYS_MAX: Final = 200_000
# Items in one answer: it is ended after that many, and all versions of its last key. A key with
# more versions than the second cannot be compared.
COMPARE_ITEMS_MAX: Final = 4_000
COMPARE_VERSIONS_MAX: Final = 60_000
# Items asked for by name; their keys may have 1 KiB each.
COMPARE_ITEMS_ASKED_MAX: Final = 500
COMPARE_REQUEST_BYTES_MAX: Final = 1 * MIB
COMPARE_ANSWER_BYTES_MAX: Final = 16 * MIB
# Records are added to an answer until it has this much; one may be near 2 MiB.
COMPARE_RECORDS_BYTES: Final = 2 * MIB
# Scans of a name server that peers may have under way at once.
COMPARE_SCANS_MAX: Final = 2
# Possible differences that are looked into together: what a comparison holds in memory.
COMPARE_CHUNK: Final = 2_000
# Differences named in a report; all are counted.
COMPARE_SHOWN_MAX: Final = 1_000
# How often possible differences are looked at again while they are still changing.
COMPARE_ROUNDS: Final = 4
# How long a comparison waits for what is on its way; and a repair without any progress.
COMPARE_WAIT_SECONDS: Final = 30.0
COMPARE_POLL_SECONDS: Final = 0.05
# A repair waits for as long as something comes or goes, and then so long.
REPAIR_PAUSE_SECONDS: Final = 5.0
# A link compares by itself this long after a stream has come up, and not more often than that.
VERIFY_DELAY_SECONDS: Final = 30.0
VERIFY_PAUSE_SECONDS: Final = 600.0
VERIFY_EVERY_SECONDS: Final = 86_400.0
VERIFY_TICK_SECONDS: Final = 1.0
# DCs that compare before they are paired; how long each may.
GUESTS_MAX: Final = 8
GUEST_SECONDS: Final = 900
