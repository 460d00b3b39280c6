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
# What it may shrink to on a line that breaks before it has carried a batch: a change or some.
BATCH_BYTES_MIN: Final = 4 * KIB
# A batch may have this fraction of what the line carried before it broke.
BATCH_SHARE: Final = 8
# Or, where little is written, twice what it had so long before.
BATCH_DOUBLED_SECONDS: Final = 30.0
# Batches whose way is known; more are not under way.
BATCHES_REMEMBERED: Final = 4096
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
# Smaller ones are not tried to be made smaller.
PACK_BYTES_MIN: Final = 512
# What a bundle may have of the batch's size: unpacking costs time, too.
PACK_WORTH: Final = 0.9
# Batches that are sent as they are, after the last that were tried did not shrink.
PACK_PAUSE_MAX: Final = 64
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

# -- draws and the doorbell ---------------------------------------------------------------------

# Between draws of a peer's feed: however often it rings, one a second costs a TLS connection each.
DRAW_GAP_SECONDS: Final = 0.8
# How often it is looked whether the time to poll has changed, with the state of the broker.
DRAW_TICK_SECONDS: Final = 1.0
# A peer is polled this often at least while nobody would ring.
POLL_AWAY_SECONDS_MAX: Final = 60.0
# When a draw has ended, its connection is used for what else is to be asked for so long.
DRAW_AFTER_SECONDS: Final = 10.0
# Who draws tells anew, with a draw, up to where he has all, if he has not for so long.
DRAW_ACK_SECONDS: Final = 3600.0
# The longest time between draws that a peer may announce.
DRAW_EVERY_SECONDS_MAX: Final = 86_400
# Who draws and is this much late has gone.
DRAW_LATE_SECONDS: Final = 60.0
# Between rings of all peers: what commits meanwhile is told together.
RING_GAP_SECONDS: Final = 0.25
# So far ahead of this clock a ring of another feed than is taken may be: none made earlier is heard
# then.
RING_AHEAD_MS_MAX: Final = 60_000
# Rings that are checked in a second: a signature costs a tenth of a millisecond.
RINGS_CHECKED_MAX: Final = 20
# A broker that is back is found within this time.
BROKER_RETRY_SECONDS_MAX: Final = 10.0
# How often it is looked whether there is anybody to ring, or whose ring is to be heard.
RING_TICK_SECONDS: Final = 1.0

# -- bodies -------------------------------------------------------------------------------------

RANGE_BYTES: Final = 8 * MIB
# Progress is stored range by range, so very large bodies take larger ranges.
RANGES_PER_BODY_MAX: Final = 2000
RANGES_AT_ONCE: Final = 4
# Of a range that was cut, less than this is fetched anew: each piece is an extent of the object.
CUT_BYTES_MIN: Final = 256 * KIB
# On a line that breaks often less is kept (`replicator/appetite.py`), but no more such pieces: the
# list of a body's pieces is written again and again.
CUT_PIECES_MAX: Final = 8192
# How often such pieces are recorded: each time the list of all of them is written.
CUT_SAVE_SECONDS: Final = 1.0
# How long the other ranges of a body may go on when one has given up.
OTHERS_SECONDS_MAX: Final = 60.0
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
# Bodies under way to a peer: twice what it has open, with those for clients that wait there, for
# those on a line that died are not known to be dead. Each has two pieces of 1 MiB in memory.
BODIES_PER_PEER_MAX: Final = 300
# Of a body so much is written at once; so much waits at most to be sent when no more is written.
BODY_WRITE_BYTES: Final = 256 * KIB
BODY_UNSENT_BYTES: Final = 512 * KIB
# A peer that takes nothing of a body for this long is cut off. Two dozen bodies may share a thin
# line; and for a client of the peer that takes 2 KB a second a buffer of 1 MiB is emptied first.
BODY_STALLED_SECONDS_MAX: Final = 600.0
OBJECT_BYTES_MAX: Final = 50 * 1024 * 1024 * MIB

# -- files (replicator/filed.py) ----------------------------------------------------------------

# A chunk holds a frame of the stream, or a piece of a body.
CHUNK_BYTES_MAX: Final = 9 * MIB
# Each piece costs a signature; a whole range in memory, several times, would be more.
PIECE_BYTES: Final = 4 * MIB
FILE_HEADER_BYTES_MAX: Final = 64 * KIB
# Earlier epochs that a file names: starts of a DC since its last file, mostly a few.
FILE_EPOCHS_MAX: Final = 1_000
# An import ends when so long nothing of the file came: it keeps the peer's stream closed.
FILE_IDLE_SECONDS: Final = 60.0
# What is known of a peer's progress is from a file, when it was noted with the file's.
FILE_ACK_MS: Final = 1_000
# How often a peer without a link is tried all the same.
OFFLINE_RETRY_SECONDS: Final = 60.0

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
# The same of a peer with several endpoints, and until the head of an answer: time for a line with
# a second of delay, and not long enough to hold up the others.
CONNECT_SECONDS_OF_SEVERAL: Final = 5.0
ANSWER_SECONDS_MAX: Final = 10.0
# So long a request may be that gets its answer in that time on a thin line.
SHORT_BODY_BYTES_MAX: Final = 16 * KIB
# With several endpoints: how long a stream may say nothing, when it should, before it is asked
# whether it is there; how long the answer may take, which a queue on a busy line holds up; and how
# often that is looked at.
DOUBT_SECONDS: Final = 2.0
LINE_ANSWER_SECONDS: Final = 4.0
LINE_LOOK_SECONDS: Final = 0.5
# How often the preferred endpoint is asked whether it is back, while another is in use.
FIRST_ENDPOINT_SECONDS: Final = 60.0
# The same of one that fails each time soon after.
FIRST_ENDPOINT_SECONDS_MAX: Final = 3600.0
REQUEST_SECONDS_MAX: Final = 30.0
# About what the heads of a request and its answer have.
REQUEST_HEAD_BYTES: Final = 4 * KIB
REQUEST_BODY_BYTES_MAX: Final = 64 * KIB
ANSWER_BYTES_MAX: Final = 64 * KIB
READ_BUFFER_BYTES: Final = 1 * MIB
ACK_SECONDS: Final = 0.1
# An acknowledgement says also that this DC is there; whoever is silent too long is not waited for.
ACK_IDLE_SECONDS: Final = 60.0
# Starts of a peer whose late acknowledgements are known to be late: its tokens expire sooner.
ENDED_EPOCHS_MAX: Final = 16
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

# How often it is looked what limits hold now, and how much has gone.
PACE_SECONDS: Final = 1.0
# Rates are measured over so many of these.
PACE_SAMPLES: Final = 6
# Under a limit a request may have a fraction of the rate: some two dozen flows go at a time.
PACE_SHARE: Final = 32

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
"""How long a body that was asked for may take before it is looked whether it is on its way; if it
is not, somebody else is asked."""
FILL_FAILED_SECONDS: Final = 10.0
"""How long a peer that could not be asked is left alone."""
FILL_LOOKED_MAX: Final = 22_000
"""So many unfinished changes of a peer are looked at for that: as many as may be asked for."""
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

# -- reading for clients that wait -------------------------------------------------------------

READ_FIRST_SECONDS: Final = 5.0
"""Until the first bytes of an object come, from whichever peer."""
READ_NAMES_SECONDS: Final = 2.0
"""How long peers are waited for that are asked for a key, or a page of a listing."""
READ_ASKED_MAX: Final = 128
"""Questions to all peers that may be under way: nobody can load other DCs with more."""
READ_BODIES_MAX: Final = 128
"""Bodies that may be under way, each with some 3 MiB in buffers."""
LIST_KEYS_MAX: Final = 1_000
"""Keys and common prefixes in one answer: a page of S3's."""
LIST_TEXT_CHARACTERS_MAX: Final = 2 * KIB
"""What a listing starts after is a client's text: longer than a key it may be, without end not."""
LISTS_AT_ONCE: Final = 4
"""Pages that a name server reads for peers at once."""
PREFIXES_AT_ONCE: Final = 8
"""Common prefixes of a listing that are looked into at once."""
NEWS_PAGES_MAX: Final = 10
"""Pages that are looked through for a key below a common prefix that was not deleted here."""

# -- comparing ----------------------------------------------------------------------------------

# Bucket ids in one answer: some 1.2 MB.
COMPARE_BUCKETS_MAX: Final = 20_000
# Buckets that a peer may have more than this DC, where their names are asked for: some 100 MB.
COMPARE_BUCKETS_MORE_MAX: Final = 200_000
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
