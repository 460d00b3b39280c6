"""Who may do what: policies of buckets, and what they may ask about a request."""

from gateway.access.facts import RequestFacts as RequestFacts
from gateway.access.policy import Policy as Policy
from gateway.access.policy import compile_policy as compile_policy
from gateway.access.public import is_public as is_public
