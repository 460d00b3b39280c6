"""How answers name a user: by the canonical id, with a name for people.

S3 shows the part of an account's email address that stands before the @, and nothing more of it:
who may read an access control list is not told addresses.
"""

from dc.names.api import Directory
from gateway.errors import xml_text

ANONYMOUS_ID = "65a011a29cdf8ec533ec3d1ccaae921c"
"""S3's canonical id of who has not signed."""


def display_name(directory: Directory, user_id: str) -> str:
    """ "" for a user who is not there (any more)."""
    user = directory.user(user_id)
    return "" if user is None else user.email.rpartition("@")[0]


def owner(directory: Directory, user_id: str) -> dict[str, str]:
    """For an Owner, Initiator or Grantee of the model."""
    name = display_name(directory, user_id)
    return {"ID": user_id, "DisplayName": name} if name else {"ID": user_id}


def owner_xml(directory: Directory, user_id: str) -> str:
    """The same, as text."""
    name = display_name(directory, user_id)
    shown = f"<DisplayName>{xml_text(name)}</DisplayName>" if name else ""
    return f"<ID>{user_id}</ID>{shown}"
