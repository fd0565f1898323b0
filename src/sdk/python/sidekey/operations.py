# Made by "npm run sdk" from the OpenAPI document.
# ruff: noqa: E501
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any, AsyncIterator, Iterator, Literal, NotRequired, TypedDict

#: Value of a parameter that is not sent.
UNSET: Any = object()


class TokenMetadata(TypedDict):
    user_id: str
    integration_key: str
    grant_id: str
    provider: str
    token_type: str
    scopes: list[str]
    state: str
    expires_at: str | None
    is_expired: bool
    created_at: str
    updated_at: str


class Problem(TypedDict):
    """An error (RFC 9457)."""

    title: str
    status: int
    code: str
    detail: str
    hint: NotRequired[str]


class Token(TypedDict):
    user_id: str
    integration_key: str
    grant_id: str
    provider: str
    token_type: str
    scopes: list[str]
    state: str
    expires_at: str | None
    is_expired: bool
    created_at: str
    updated_at: str
    refreshed: bool
    token_data: NotRequired[dict[str, Any]]
    placeholder: NotRequired[str]


class GrantInList(TypedDict):
    id: str
    name: str
    user: str
    provider: str
    type: str
    state: Literal["active", "expired", "revoked", "reauth_required"]
    state_reason: str | None
    scopes: list[str]
    expires_at: str | None
    expires_in: int | None
    refreshable: bool
    revision: int
    created_at: str
    updated_at: str
    account: str | None
    used_at: str | None
    grant_expires_at: str | None


class Grant(TypedDict):
    id: str
    name: str
    user: str
    provider: str
    type: str
    state: Literal["active", "expired", "revoked", "reauth_required"]
    state_reason: str | None
    scopes: list[str]
    expires_at: str | None
    expires_in: int | None
    refreshable: bool
    revision: int
    created_at: str
    updated_at: str
    lacked_scopes: Any
    obtained_at: str | None
    refresh_due_at: str | None
    refresh_token_dies_at: str | None
    consent_ends_at: str | None
    used_at: str | None
    refreshed_at: str | None
    failed_at: str | None
    failure: str | None
    next: GrantNext
    renewed_by: str | None
    source: str | None
    dpop: Any
    account: str | None
    account_details: dict[str, str]
    grant_type: str | None
    client_id: str | None
    audience: list[str]
    fingerprint: str | None
    domains: list[str]
    settings: GrantSettings
    reached_by: GrantReachedBy
    certificate: NotRequired[GrantCertificate]


class GrantNext(TypedDict):
    what: str
    at: str | None


class GrantSettings(TypedDict):
    id: str
    name: str
    user: str
    scopes: list[str]
    expires_at: str | None
    default_ttl: float | None
    max_ttl: float | None
    default_lease_ttl: float | None
    max_lease_ttl: float | None
    labels: list[str]
    metadata: dict[str, str]


class GrantReachedBy(TypedDict):
    agents: list[GrantReachedByAgentsItem]
    active_leases: list[GrantReachedByActiveLeasesItem]


class GrantReachedByAgentsItem(TypedDict):
    name: str
    state: str


class GrantReachedByActiveLeasesItem(TypedDict):
    id: str
    agent: str


class GrantCertificate(TypedDict):
    subject: str
    issuer: str
    serial: str
    sha256: str
    valid_from: str
    valid_until: str
    issuers_sent: int


class AddedGrant(TypedDict):
    id: str
    name: str
    user: str
    provider: str
    type: str
    state: Literal["active", "expired", "revoked", "reauth_required"]
    state_reason: str | None
    scopes: list[str]
    expires_at: str | None
    expires_in: int | None
    refreshable: bool
    revision: int
    created_at: str
    updated_at: str
    account: str | None
    account_details: dict[str, str]
    audience: list[str]
    domains: list[str]
    replaced: bool
    verified: bool
    warnings: list[str]
    certificate: NotRequired[AddedGrantCertificate]


class AddedGrantCertificate(TypedDict):
    subject: str
    issuer: str
    serial: str
    sha256: str
    valid_from: str
    valid_until: str
    issuers_sent: int


class RefreshedGrant(TypedDict):
    id: str
    name: str
    user: str
    provider: str
    type: str
    state: Literal["active", "expired", "revoked", "reauth_required"]
    state_reason: str | None
    scopes: list[str]
    expires_at: str | None
    expires_in: int | None
    refreshable: bool
    revision: int
    created_at: str
    updated_at: str
    renewed: bool


class RevokedGrant(TypedDict):
    id: str
    name: str
    user: str
    provider: str
    type: str
    state: Literal["active", "expired", "revoked", "reauth_required"]
    state_reason: str | None
    scopes: list[str]
    expires_at: str | None
    expires_in: int | None
    refreshable: bool
    revision: int
    created_at: str
    updated_at: str
    changed: bool
    at_provider: str | None


class RemovedGrant(TypedDict):
    id: str
    name: str
    user: str
    removed: Literal[True]
    at_provider: str | None
    domains: list[str]


class CreatedConnectSession(TypedDict):
    id: str
    connect_url: str
    session_token: str
    expires_at: str


class DeviceSession(TypedDict):
    id: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_at: str
    interval: float


class ConnectSession(TypedDict):
    id: str
    status: Literal["pending", "connected", "failed", "expired"]
    provider: str
    user: str
    grant_id: NotRequired[str]
    error: NotRequired[ConnectSessionError]


class ConnectSessionError(TypedDict):
    code: str
    detail: str


class Domain(TypedDict):
    domain: str
    action: Literal["grant", "tunnel", "deny"]
    origin: str
    grant: NotRequired[str]
    allow_plain_http: NotRequired[bool]
    leak_guard: NotRequired[str]
    leak_limit: NotRequired[Any]
    foreign_credentials: NotRequired[str]
    also: NotRequired[list[str]]
    grants: NotRequired[list[DomainGrantsItem]]
    mode: NotRequired[str]
    default: NotRequired[str]
    rules: NotRequired[list[DomainRulesItem]]


class DomainGrantsItem(TypedDict):
    id: str
    name: str
    user: str
    state: str


class DomainRulesItem(TypedDict):
    name: str | None
    outcome: str
    text: str


class ChangedDomain(TypedDict):
    domain: str
    change: Literal["added", "replaced", "removed", "unchanged"]
    says: str
    config: str
    warnings: list[str]


class Provider(TypedDict):
    name: str
    title: str
    category: str


class Explanation(TypedDict):
    method: str
    url: str
    agent: str | None
    lease: str | None
    allowed: bool
    held: bool
    outcome: str
    code: NotRequired[str]
    status: NotRequired[int]
    message: NotRequired[str]
    hint: NotRequired[str]
    steps: list[ExplanationStepsItem]


class ExplanationStepsItem(TypedDict):
    step: str
    ok: bool
    text: str


class AgentInList(TypedDict):
    name: str
    state: Literal["enabled", "disabled"]
    acts_for: str | None
    labels: list[str]
    bindings: list[Binding]
    live_tokens: int
    issuers: list[str]
    active_leases: int
    used_at: str | None
    created_at: str


class Binding(TypedDict):
    kind: Literal["grant", "provider", "user", "label", "everything", "egress"]
    value: str | None


class Agent(TypedDict):
    name: str
    state: Literal["enabled", "disabled"]
    acts_for: str | None
    labels: list[str]
    bindings: list[Binding]
    reaches: list[AgentReachesItem]
    tokens: list[AgentTokensItem]
    identities: list[AgentIdentitiesItem]
    active_leases: list[str]
    used_at: str | None
    created_at: str


class AgentReachesItem(TypedDict):
    id: str
    name: str
    user: str
    provider: str


class AgentTokensItem(TypedDict):
    id: str
    label: str
    live: bool
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    used_at: str | None


class AgentIdentitiesItem(TypedDict):
    issuer: str
    claims: dict[str, str]


class CreatedAgent(TypedDict):
    name: str
    token: str | None
    proxy_url: str | None
    expires_at: str | None
    acts_for: str | None
    labels: list[str]
    bindings: list[Binding]


class BoundAgent(TypedDict):
    name: str
    changed: bool
    bindings: list[Binding]


class Lease(TypedDict):
    id: str
    agent: str
    grants: list[str] | None
    egress: list[str] | None
    purpose: str
    state: Literal["active", "expired", "used_up", "revoked"]
    expires_at: str
    ends_at: str | None
    expires_in: int
    idle: float | None
    max_uses: int | None
    uses: int | None
    used_at: str | None
    renewed_at: str | None
    revoked_at: str | None
    created_at: str


class LeaseInFull(TypedDict):
    id: str
    agent: str
    grants: list[str] | None
    egress: list[str] | None
    purpose: str
    state: Literal["active", "expired", "used_up", "revoked"]
    expires_at: str
    ends_at: str | None
    expires_in: int
    idle: float | None
    max_uses: int | None
    uses: int | None
    used_at: str | None
    renewed_at: str | None
    revoked_at: str | None
    created_at: str
    warnings: list[str]


class CreatedLease(TypedDict):
    id: str
    agent: str
    grants: list[str] | None
    egress: list[str] | None
    purpose: str
    state: Literal["active", "expired", "used_up", "revoked"]
    expires_at: str
    ends_at: str | None
    expires_in: int
    idle: float | None
    max_uses: int | None
    uses: int | None
    used_at: str | None
    renewed_at: str | None
    revoked_at: str | None
    created_at: str
    token: str
    proxy_url: str
    capped_by: str | None
    warnings: list[str]


class RenewedLease(TypedDict):
    id: str
    agent: str
    grants: list[str] | None
    egress: list[str] | None
    purpose: str
    state: Literal["active", "expired", "used_up", "revoked"]
    expires_at: str
    ends_at: str | None
    expires_in: int
    idle: float | None
    max_uses: int | None
    uses: int | None
    used_at: str | None
    renewed_at: str | None
    revoked_at: str | None
    created_at: str
    capped_by: str | None
    warnings: list[str]


class Approval(TypedDict):
    id: str
    exchange: str
    asked_at: str
    expires_at: str
    expires_in: int
    agent: str | None
    client: str
    lease: str | None
    purpose: str | None
    method: str
    scheme: Literal["http", "https"]
    authority: str
    path: str
    query: str | None
    fields: list[str]
    has_query: bool
    operation: str | None
    body_bytes: int | None
    grant: str
    grant_name: str
    user: str
    provider: str
    reason: str | None
    rule: str
    rule_name: str | None
    answer: ApprovalAnswer1 | None


class ApprovalAnswer1(TypedDict):
    outcome: Literal["allowed", "denied"]
    reach: Literal["once", "lease", "until"] | None
    until: str | None
    at: str
    by: str


class StandingApproval(TypedDict):
    id: str
    agent: str | None
    lease: str | None
    grant: str
    grant_name: str
    rule: str
    rule_name: str | None
    until: str | None
    at: str
    by: str


class Proposal(TypedDict):
    id: str
    status: Literal["waiting", "accepted", "declined", "expired"]
    agent: str | None
    lease: str | None
    change: ProposalChange1 | ProposalChange2 | ProposalChange3
    reason: str
    client: str
    asked_at: str
    expires_at: str
    answer: ProposalAnswer1 | None
    used_at: str | None


class ProposalChange1(TypedDict):
    kind: Literal["domain"]
    host: str
    grant: str | None
    action: Literal["tunnel", "grant"]


class ProposalChange2(TypedDict):
    kind: Literal["grant"]
    provider: str
    scopes: list[str]


class ProposalChange3(TypedDict):
    kind: Literal["scope"]
    grant: str
    scopes: list[str]


class ProposalAnswer1(TypedDict):
    outcome: Literal["declined", "once", "lease", "for_good", "connect", "connected"]
    at: str
    by: str


class ProposalWithEffect(TypedDict):
    id: str
    status: Literal["waiting", "accepted", "declined", "expired"]
    agent: str | None
    lease: str | None
    change: ProposalWithEffectChange1 | ProposalWithEffectChange2 | ProposalWithEffectChange3
    reason: str
    client: str
    asked_at: str
    expires_at: str
    answer: ProposalWithEffectAnswer1 | None
    used_at: str | None
    diff: str | None
    commands: list[str]
    notes: list[str]


class ProposalWithEffectChange1(TypedDict):
    kind: Literal["domain"]
    host: str
    grant: str | None
    action: Literal["tunnel", "grant"]


class ProposalWithEffectChange2(TypedDict):
    kind: Literal["grant"]
    provider: str
    scopes: list[str]


class ProposalWithEffectChange3(TypedDict):
    kind: Literal["scope"]
    grant: str
    scopes: list[str]


class ProposalWithEffectAnswer1(TypedDict):
    outcome: Literal["declined", "once", "lease", "for_good", "connect", "connected"]
    at: str
    by: str


class AuditLine(TypedDict):
    """A line of the audit log (docs/audit.md)."""

    v: Literal[1]
    seq: int
    time: str
    node: str
    event: str
    hash: str


class Metrics(TypedDict):
    step: float
    buckets: list[MetricsBucketsItem]


class MetricsBucketsItem(TypedDict):
    time: str
    exchanges: int
    refusals: int
    failures: int
    refreshes: int
    p50_ms: float | None
    p99_ms: float | None


class Keys(TypedDict):
    """The master keys of the store, current first. No key is in it."""

    source: str
    rotating: bool
    left: int
    keys: list[KeysKeysItem]
    behind: list[Node]


class KeysKeysItem(TypedDict):
    key_id: str
    state: Literal["current", "rotating", "retired"]
    since: str | None
    retired_at: str | None
    records: int


class Node(TypedDict):
    """The processes with one config file on one machine."""

    name: str
    source: str
    key_id: str
    version: str
    joined_at: str
    seen_at: str


class Status(TypedDict):
    """Findings, and a sentence with a way out for each problem."""

    ok: bool
    needs: list[StatusNeedsItem]


class StatusNeedsItem(TypedDict):
    about: NotRequired[str]
    sentence: str
    hint: str | None


class Config(TypedDict):
    """The text of the config file. Secrets stand in it as references."""

    file: str
    text: str


class ApiKey(TypedDict):
    name: str
    role: Literal["operator", "approver", "auditor", "user"]
    scopes: list[str] | None
    user: str | None
    person: str | None
    created_at: str
    expires_at: str | None
    used_at: str | None


class CreatedApiKey(TypedDict):
    name: str
    role: Literal["operator", "approver", "auditor", "user"]
    scopes: list[str] | None
    user: str | None
    person: str | None
    created_at: str
    expires_at: str | None
    used_at: str | None
    key: str


class Me(TypedDict):
    name: str
    role: Literal["operator", "approver", "auditor", "user"]
    user: str | None
    scopes: list[Literal["grants:read", "grants:write", "tokens:read", "tokens:write", "access:read", "access:write", "approvals:read", "approvals:write", "audit:read", "config:read", "config:write", "requests:send", "status:read"]]


class Person(TypedDict):
    name: str
    role: Literal["operator", "approver", "auditor", "user", "none"]
    user: str | None
    identity: str | None
    state: Literal["enabled", "disabled"]
    passkeys: list[PersonPasskeysItem]
    created_at: str


class PersonPasskeysItem(TypedDict):
    id: str
    label: str
    created_at: str
    used_at: str | None


class Passkey(TypedDict):
    id: str
    label: str
    created_at: str
    used_at: str | None


class CreateTokenTokenData(TypedDict):
    access_token: NotRequired[str]
    refresh_token: NotRequired[str]
    token_type: NotRequired[str]
    expires_in: NotRequired[float]
    scope: NotRequired[str]
    client_id: NotRequired[str]
    client_secret: NotRequired[str]
    api_key: NotRequired[str]
    jwt: NotRequired[str]


class CreateConnectSessionGrantPolicy(TypedDict):
    ttl: NotRequired[str]
    max_ttl: NotRequired[str]
    lease_ttl: NotRequired[str]
    max_lease_ttl: NotRequired[str]
    labels: NotRequired[list[str]]
    metadata: NotRequired[dict[str, str]]


class CreateDeviceSessionGrantPolicy(TypedDict):
    ttl: NotRequired[str]
    max_ttl: NotRequired[str]
    lease_ttl: NotRequired[str]
    max_lease_ttl: NotRequired[str]
    labels: NotRequired[list[str]]
    metadata: NotRequired[dict[str, str]]


class PreviewDomainResult(TypedDict):
    text: str
    change: str


class ChangeAgentResult(TypedDict):
    name: str
    acts_for: str | None
    labels: list[str]
    state: Literal["enabled", "disabled"]
    changed: bool


class RemoveAgentResult1(TypedDict):
    name: str
    removed: Literal[True]


class RemoveAgentResult2(TypedDict):
    name: str
    label: str
    revoked: int


class RotateAgentResult(TypedDict):
    name: str
    token: str
    proxy_url: str
    label: str
    expires_at: str | None
    replaced: int


class CreateLeaseCredentialsItem(TypedDict):
    provider: str
    name: NotRequired[str]
    credential: dict[str, Any]


class RevokeLeaseResult(TypedDict):
    revoked: list[str]


class RevokeLeasesResult(TypedDict):
    revoked: list[str]


class VerifyAuditResult(TypedDict):
    ok: bool
    lines: int
    problems: list[Any]


class SummarizeAuditResult(TypedDict):
    agent: str | None
    grant: str | None
    requests: int


RotateKeyResult = TypedDict("RotateKeyResult", {
    "from": "str",
    "to": "str",
    "resumed": "bool",
    "rewrapped": "int",
    "finished": "bool",
    "behind": "list[Node]",
})


class RevokeNodeResult(TypedDict):
    name: str
    revoked: Literal[True]


class RunDoctorResult(TypedDict):
    ok: bool
    needs: list[RunDoctorResultNeedsItem]


class RunDoctorResultNeedsItem(TypedDict):
    about: NotRequired[str]
    sentence: str
    hint: str | None


class GetCaResult(TypedDict):
    name: str
    certificate: str
    fingerprint_sha256: str
    not_before: str
    not_after: str
    permitted_names: list[str]


class ExportCaResult(TypedDict):
    format: str
    pem: str


class GetEnvironmentResult(TypedDict):
    set: dict[str, str]
    remove: list[str]
    lease: str | None
    notes: list[str]


class SendRequestResult(TypedDict):
    status: int


class CheckConfigResult(TypedDict):
    ok: Literal[True]


class TestConfigResult(TypedDict):
    passed: int
    failed: int


class GetPathsResult(TypedDict):
    config: str


class RevokeApiKeyResult(TypedDict):
    name: str
    revoked: Literal[True]


class RemovePersonResult(TypedDict):
    name: str
    removed: Literal[True]


class LinkPersonResult(TypedDict):
    name: str
    url: str
    expires_at: str


class CreateLoginCodeResult(TypedDict):
    code: str


class RevokeOwnKeyResult(TypedDict):
    name: str
    revoked: Literal[True]


#: Method, path and query of each operation.
OPERATIONS: dict[str, tuple[str, str, list[str]]] = {
    "createToken": ("POST", "/v2/users/{user}/tokens", []),
    "listTokens": ("GET", "/v2/users/{user}/tokens", ["limit"]),
    "getToken": ("GET", "/v2/users/{user}/tokens/{integration_key}", []),
    "deleteToken": ("DELETE", "/v2/users/{user}/tokens/{integration_key}", []),
    "refreshToken": ("POST", "/v2/users/{user}/tokens/{integration_key}/refresh", []),
    "listGrants": ("GET", "/v2/grants", ["user", "limit"]),
    "addGrant": ("POST", "/v2/grants", []),
    "getGrant": ("GET", "/v2/grants/{grant}", ["user"]),
    "changeGrant": ("PATCH", "/v2/grants/{grant}", ["user"]),
    "removeGrant": ("DELETE", "/v2/grants/{grant}", ["user", "local"]),
    "refreshGrant": ("POST", "/v2/grants/{grant}/refresh", ["user"]),
    "revokeGrant": ("POST", "/v2/grants/{grant}/revoke", ["user"]),
    "createConnectSession": ("POST", "/v2/connect-sessions", []),
    "createDeviceSession": ("POST", "/v2/connect-sessions/device", []),
    "getConnectSession": ("GET", "/v2/connect-sessions/{id}", []),
    "listDomains": ("GET", "/v2/domains", ["limit"]),
    "previewDomain": ("POST", "/v2/domains/preview", []),
    "getDomain": ("GET", "/v2/domains/{host}", []),
    "putDomain": ("PUT", "/v2/domains/{host}", []),
    "removeDomain": ("DELETE", "/v2/domains/{host}", []),
    "listProviders": ("GET", "/v2/providers", ["text", "limit"]),
    "getProvider": ("GET", "/v2/providers/{provider}", []),
    "explainRequest": ("POST", "/v2/explain", []),
    "listAgents": ("GET", "/v2/agents", ["limit"]),
    "createAgent": ("POST", "/v2/agents", []),
    "getAgent": ("GET", "/v2/agents/{agent}", []),
    "changeAgent": ("PATCH", "/v2/agents/{agent}", []),
    "removeAgent": ("DELETE", "/v2/agents/{agent}", ["token_label"]),
    "bindAgent": ("POST", "/v2/agents/{agent}/bind", []),
    "rotateAgent": ("POST", "/v2/agents/{agent}/rotate", []),
    "listLeases": ("GET", "/v2/leases", ["agent", "grant", "all", "limit"]),
    "createLease": ("POST", "/v2/leases", []),
    "getLease": ("GET", "/v2/leases/{lease}", []),
    "renewLease": ("POST", "/v2/leases/{lease}/renew", []),
    "revokeLease": ("POST", "/v2/leases/{lease}/revoke", []),
    "revokeLeases": ("POST", "/v2/leases/revoke", []),
    "listApprovals": ("GET", "/v2/approvals", ["limit"]),
    "listStandingApprovals": ("GET", "/v2/approvals/standing", ["limit"]),
    "answerApproval": ("POST", "/v2/approvals/{approval}", []),
    "revokeApproval": ("DELETE", "/v2/approvals/{approval}", []),
    "listProposals": ("GET", "/v2/proposals", ["limit"]),
    "getProposal": ("GET", "/v2/proposals/{proposal}", []),
    "acceptProposal": ("POST", "/v2/proposals/{proposal}/accept", []),
    "acceptProposalForGood": ("POST", "/v2/proposals/{proposal}/accept-for-good", []),
    "declineProposal": ("POST", "/v2/proposals/{proposal}/decline", []),
    "listAuditEvents": ("GET", "/v2/audit/events", ["since", "until", "event", "agent", "grant", "user", "by", "provider", "host", "outcome", "lease", "exchange", "code", "order", "limit"]),
    "streamAuditEvents": ("GET", "/v2/audit/stream", ["since", "until", "event", "agent", "grant", "user", "by", "provider", "host", "outcome", "lease", "exchange", "code", "lines"]),
    "verifyAudit": ("GET", "/v2/audit/verify", []),
    "summarizeAudit": ("GET", "/v2/audit/summary", ["since", "until", "event", "agent", "grant", "user", "by", "provider", "host", "outcome", "lease", "exchange", "code", "limit"]),
    "getMetrics": ("GET", "/v2/metrics", ["since", "until", "step"]),
    "getKeys": ("GET", "/v2/key", []),
    "rotateKey": ("POST", "/v2/key/rotate", ["retire"]),
    "listNodes": ("GET", "/v2/nodes", ["limit"]),
    "revokeNode": ("DELETE", "/v2/nodes/{node}", []),
    "getStatus": ("GET", "/v2/status", []),
    "runDoctor": ("POST", "/v2/doctor", []),
    "getCa": ("GET", "/v2/ca", []),
    "exportCa": ("GET", "/v2/ca/certificate", ["format"]),
    "getEnvironment": ("POST", "/v2/environment", []),
    "sendRequest": ("POST", "/v2/requests", []),
    "getConfig": ("GET", "/v2/config", []),
    "putConfig": ("PUT", "/v2/config", []),
    "checkConfig": ("POST", "/v2/config/check", []),
    "testConfig": ("POST", "/v2/config/test", []),
    "getPaths": ("GET", "/v2/config/paths", []),
    "listApiKeys": ("GET", "/v2/api-keys", ["limit"]),
    "createApiKey": ("POST", "/v2/api-keys", []),
    "revokeApiKey": ("DELETE", "/v2/api-keys/{key}", []),
    "getMe": ("GET", "/v2/me", []),
    "listPeople": ("GET", "/v2/people", ["limit"]),
    "createPerson": ("POST", "/v2/people", []),
    "getPerson": ("GET", "/v2/people/{person}", []),
    "changePerson": ("PATCH", "/v2/people/{person}", []),
    "removePerson": ("DELETE", "/v2/people/{person}", []),
    "linkPerson": ("POST", "/v2/people/{person}/link", []),
    "createLoginCode": ("POST", "/v2/me/login-codes", []),
    "revokeOwnKey": ("DELETE", "/v2/me/key", []),
}


class Operations:
    """Methods of the client, one for each operation of the API."""

    def _call(self, operation: str, given: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _pages(self, operation: str, given: dict[str, Any]) -> Iterator[Any]:
        raise NotImplementedError

    def _stream(self, operation: str, given: dict[str, Any]) -> Iterator[Any]:
        raise NotImplementedError

    def create_token(self, *, user: str, integration_key: str, provider: str, token_type: Literal["oauth2", "api_key", "jwt"], token_data: CreateTokenTokenData, scopes: list[str] = UNSET, expires_at: str = UNSET) -> TokenMetadata:
        """Store a token of a user. ``POST /v2/users/{user}/tokens``"""
        return self._call("createToken", {"user": user, "integration_key": integration_key, "provider": provider, "token_type": token_type, "token_data": token_data, "scopes": scopes, "expires_at": expires_at})

    def list_tokens(self, *, user: str, limit: int = UNSET) -> Iterator[TokenMetadata]:
        """List the tokens of a user, without their values. ``GET /v2/users/{user}/tokens``"""
        return self._pages("listTokens", {"user": user, "limit": limit})

    def get_token(self, *, user: str, integration_key: str) -> Token:
        """Show a token, refreshed first where it is due. ``GET /v2/users/{user}/tokens/{integration_key}``"""
        return self._call("getToken", {"user": user, "integration_key": integration_key})

    def delete_token(self, *, user: str, integration_key: str) -> None:
        """End a token, here and at the provider, and delete it. ``DELETE /v2/users/{user}/tokens/{integration_key}``"""
        return self._call("deleteToken", {"user": user, "integration_key": integration_key})

    def refresh_token(self, *, user: str, integration_key: str) -> Token:
        """Get a new token from the provider in any case. ``POST /v2/users/{user}/tokens/{integration_key}/refresh``"""
        return self._call("refreshToken", {"user": user, "integration_key": integration_key})

    def list_grants(self, *, user: str = UNSET, limit: int = UNSET) -> Iterator[GrantInList]:
        """List the grants. ``GET /v2/grants``"""
        return self._pages("listGrants", {"user": user, "limit": limit})

    def add_grant(self, *, provider: str, credential: str | dict[str, Any], name: str = UNSET, user: str = UNSET, audience: list[str] = UNSET, replace: bool = UNSET, verify: bool = UNSET) -> AddedGrant:
        """Store a credential that exists, after it was verified. ``POST /v2/grants``"""
        return self._call("addGrant", {"name": name, "provider": provider, "user": user, "credential": credential, "audience": audience, "replace": replace, "verify": verify})

    def get_grant(self, *, grant: str, user: str = UNSET) -> Grant:
        """Show a grant, without its secret. ``GET /v2/grants/{grant}``"""
        return self._call("getGrant", {"grant": grant, "user": user})

    def change_grant(self, *, grant: str, user: str = UNSET, expires: str = UNSET, ttl: str = UNSET, max_ttl: str | Literal["none"] = UNSET, lease_ttl: str | Literal["none"] = UNSET, max_lease_ttl: str | Literal["none"] = UNSET, labels: list[str] = UNSET, metadata: dict[str, str] = UNSET, scopes: list[str] = UNSET) -> GrantSettings:
        """Change the expiry, the lease times, the labels, the metadata or the scopes of a grant. ``PATCH /v2/grants/{grant}``"""
        return self._call("changeGrant", {"grant": grant, "user": user, "expires": expires, "ttl": ttl, "max_ttl": max_ttl, "lease_ttl": lease_ttl, "max_lease_ttl": max_lease_ttl, "labels": labels, "metadata": metadata, "scopes": scopes})

    def remove_grant(self, *, grant: str, user: str = UNSET, local: str = UNSET) -> RemovedGrant:
        """End a grant, here and at the provider, and delete it. ``DELETE /v2/grants/{grant}``"""
        return self._call("removeGrant", {"grant": grant, "user": user, "local": local})

    def refresh_grant(self, *, grant: str, user: str = UNSET, force: bool = UNSET) -> RefreshedGrant:
        """Get a new token where the stored one is due or has ended. ``POST /v2/grants/{grant}/refresh``"""
        return self._call("refreshGrant", {"grant": grant, "user": user, "force": force})

    def revoke_grant(self, *, grant: str, user: str = UNSET, local: bool = UNSET) -> RevokedGrant:
        """End a grant, here and at the provider; it stays in the list. ``POST /v2/grants/{grant}/revoke``"""
        return self._call("revokeGrant", {"grant": grant, "user": user, "local": local})

    def create_connect_session(self, *, provider: str, user: str, scopes: list[str] = UNSET, name: str = UNSET, grant_policy: CreateConnectSessionGrantPolicy = UNSET, return_url: str = UNSET, popup_origin: str = UNSET) -> CreatedConnectSession:
        """Begin a session in which a person connects an account in a browser. ``POST /v2/connect-sessions``"""
        return self._call("createConnectSession", {"provider": provider, "user": user, "scopes": scopes, "name": name, "grant_policy": grant_policy, "return_url": return_url, "popup_origin": popup_origin})

    def create_device_session(self, *, provider: str, user: str, scopes: list[str] = UNSET, name: str = UNSET, grant_policy: CreateDeviceSessionGrantPolicy = UNSET) -> DeviceSession:
        """Begin a session in which a person types a code on another device. ``POST /v2/connect-sessions/device``"""
        return self._call("createDeviceSession", {"provider": provider, "user": user, "scopes": scopes, "name": name, "grant_policy": grant_policy})

    def get_connect_session(self, *, id: str) -> ConnectSession:
        """Show the state of a session; it can be read for a day. ``GET /v2/connect-sessions/{id}``"""
        return self._call("getConnectSession", {"id": id})

    def list_domains(self, *, limit: int = UNSET) -> Iterator[Domain]:
        """List the allowed-domains map, with its rules. ``GET /v2/domains``"""
        return self._pages("listDomains", {"limit": limit})

    def preview_domain(self, *, text: str, host: str, action: Literal["grant", "tunnel", "deny", "remove"], grant: str = UNSET) -> PreviewDomainResult:
        """Return the text of the config file after a change of the map; write nothing. ``POST /v2/domains/preview``"""
        return self._call("previewDomain", {"text": text, "host": host, "action": action, "grant": grant})

    def get_domain(self, *, host: str) -> list[Domain]:
        """Show the entry that covers a host, as an array of one. ``GET /v2/domains/{host}``"""
        return self._call("getDomain", {"host": host})

    def put_domain(self, *, host: str, action: Literal["grant"] | Literal["tunnel"] | Literal["deny"], grant: str = UNSET, allow_plain_http: bool = UNSET) -> ChangedDomain:
        """Write an entry of the map into the config file. ``PUT /v2/domains/{host}``"""
        return self._call("putDomain", {"host": host, "action": action, "grant": grant, "allow_plain_http": allow_plain_http})

    def remove_domain(self, *, host: str) -> ChangedDomain:
        """Remove an entry of the map from the config file. ``DELETE /v2/domains/{host}``"""
        return self._call("removeDomain", {"host": host})

    def list_providers(self, *, text: str = UNSET, limit: int = UNSET) -> Iterator[Provider]:
        """List the providers. ``GET /v2/providers``"""
        return self._pages("listProviders", {"text": text, "limit": limit})

    def get_provider(self, *, provider: str) -> Provider:
        """Show how to connect to a provider, and which hosts get its tokens. ``GET /v2/providers/{provider}``"""
        return self._call("getProvider", {"provider": provider})

    def explain_request(self, *, url: str, method: str = UNSET, agent: str = UNSET, lease: str = UNSET, user: str = UNSET, grant: str = UNSET, headers: list[str] = UNSET, body: str = UNSET, client: str = UNSET, at: str = UNSET) -> Explanation:
        """Show what would happen to a request; send nothing. ``POST /v2/explain``"""
        return self._call("explainRequest", {"method": method, "url": url, "agent": agent, "lease": lease, "user": user, "grant": grant, "headers": headers, "body": body, "client": client, "at": at})

    def list_agents(self, *, limit: int = UNSET) -> Iterator[AgentInList]:
        """List the agents. ``GET /v2/agents``"""
        return self._pages("listAgents", {"limit": limit})

    def create_agent(self, *, name: str, grants: list[str] = UNSET, providers: list[str] = UNSET, users: list[str] = UNSET, labels: list[str] = UNSET, everything: bool = UNSET, egress: list[str] = UNSET, acts_for: str = UNSET, agent_labels: list[str] = UNSET, token_label: str = UNSET, expires: str = UNSET, token: bool = UNSET) -> CreatedAgent:
        """Create an agent. The answer has its token, once. ``POST /v2/agents``"""
        return self._call("createAgent", {"grants": grants, "providers": providers, "users": users, "labels": labels, "everything": everything, "egress": egress, "name": name, "acts_for": acts_for, "agent_labels": agent_labels, "token_label": token_label, "expires": expires, "token": token})

    def get_agent(self, *, agent: str) -> Agent:
        """Show an agent, and the grants that it reaches. ``GET /v2/agents/{agent}``"""
        return self._call("getAgent", {"agent": agent})

    def change_agent(self, *, agent: str, acts_for: str | None = UNSET, agent_labels: list[str] = UNSET, disabled: bool = UNSET) -> ChangeAgentResult:
        """Change the user and the labels of an agent; disable or enable it. ``PATCH /v2/agents/{agent}``"""
        return self._call("changeAgent", {"agent": agent, "acts_for": acts_for, "agent_labels": agent_labels, "disabled": disabled})

    def remove_agent(self, *, agent: str, token_label: str = UNSET) -> RemoveAgentResult1 | RemoveAgentResult2:
        """Remove an agent with its tokens, bindings and leases; or only its tokens of a label. ``DELETE /v2/agents/{agent}``"""
        return self._call("removeAgent", {"agent": agent, "token_label": token_label})

    def bind_agent(self, *, agent: str, grants: list[str] = UNSET, providers: list[str] = UNSET, users: list[str] = UNSET, labels: list[str] = UNSET, everything: bool = UNSET, egress: list[str] = UNSET, remove: bool = UNSET, all: bool = UNSET) -> BoundAgent:
        """Let an agent use more grants, or fewer with `remove`. ``POST /v2/agents/{agent}/bind``"""
        return self._call("bindAgent", {"agent": agent, "grants": grants, "providers": providers, "users": users, "labels": labels, "everything": everything, "egress": egress, "remove": remove, "all": all})

    def rotate_agent(self, *, agent: str, overlap: str = UNSET, token_label: str = UNSET, all: bool = UNSET, expires: str = UNSET) -> RotateAgentResult:
        """Create a token that replaces the one before. The answer has it, once. ``POST /v2/agents/{agent}/rotate``"""
        return self._call("rotateAgent", {"agent": agent, "overlap": overlap, "token_label": token_label, "all": all, "expires": expires})

    def list_leases(self, *, agent: str = UNSET, grant: str = UNSET, all: str = UNSET, limit: int = UNSET) -> Iterator[Lease]:
        """List the active leases; with `all` also those that have ended. ``GET /v2/leases``"""
        return self._pages("listLeases", {"agent": agent, "grant": grant, "all": all, "limit": limit})

    def create_lease(self, *, agent: str, purpose: str, grants: list[str] = UNSET, credentials: list[CreateLeaseCredentialsItem] = UNSET, egress: list[str] = UNSET, ttl: str = UNSET, idle: str = UNSET, max_uses: int = UNSET) -> CreatedLease:
        """Let an agent use grants for a while. The answer has the token, once. ``POST /v2/leases``"""
        return self._call("createLease", {"agent": agent, "grants": grants, "credentials": credentials, "egress": egress, "purpose": purpose, "ttl": ttl, "idle": idle, "max_uses": max_uses})

    def get_lease(self, *, lease: str) -> LeaseInFull:
        """Show a lease. ``GET /v2/leases/{lease}``"""
        return self._call("getLease", {"lease": lease})

    def renew_lease(self, *, lease: str, ttl: str = UNSET, uses: int = UNSET) -> RenewedLease:
        """Give a lease a new end, counted from now. ``POST /v2/leases/{lease}/renew``"""
        return self._call("renewLease", {"lease": lease, "ttl": ttl, "uses": uses})

    def revoke_lease(self, *, lease: str) -> RevokeLeaseResult:
        """End a lease, from the next request on. ``POST /v2/leases/{lease}/revoke``"""
        return self._call("revokeLease", {"lease": lease})

    def revoke_leases(self, *, agent: str = UNSET, grant: str = UNSET) -> RevokeLeasesResult:
        """End all leases of an agent, or all for a grant. ``POST /v2/leases/revoke``"""
        return self._call("revokeLeases", {"agent": agent, "grant": grant})

    def list_approvals(self, *, limit: int = UNSET) -> Iterator[Approval]:
        """List the requests that wait for a person. ``GET /v2/approvals``"""
        return self._pages("listApprovals", {"limit": limit})

    def list_standing_approvals(self, *, limit: int = UNSET) -> Iterator[StandingApproval]:
        """List the approvals that are in force. ``GET /v2/approvals/standing``"""
        return self._pages("listStandingApprovals", {"limit": limit})

    def answer_approval(self, *, approval: str, answer: Literal["once", "lease", "deny"] | Literal["for"], span: str = UNSET) -> Approval:
        """Answer a request that waits. ``POST /v2/approvals/{approval}``"""
        return self._call("answerApproval", {"approval": approval, "answer": answer, "span": span})

    def revoke_approval(self, *, approval: str) -> StandingApproval:
        """End an approval that is in force. ``DELETE /v2/approvals/{approval}``"""
        return self._call("revokeApproval", {"approval": approval})

    def list_proposals(self, *, limit: int = UNSET) -> Iterator[Proposal]:
        """List the changes that agents propose. ``GET /v2/proposals``"""
        return self._pages("listProposals", {"limit": limit})

    def get_proposal(self, *, proposal: str) -> ProposalWithEffect:
        """Show a proposal, and what a yes changes. ``GET /v2/proposals/{proposal}``"""
        return self._call("getProposal", {"proposal": proposal})

    def accept_proposal(self, *, proposal: str, reach: Literal["once", "lease"] = UNSET) -> ProposalWithEffect:
        """Accept a proposal: a domain once or for the lease; a grant or scopes, to be connected. ``POST /v2/proposals/{proposal}/accept``"""
        return self._call("acceptProposal", {"proposal": proposal, "reach": reach})

    def accept_proposal_for_good(self, *, proposal: str) -> ProposalWithEffect:
        """Accept a proposed domain for good: the config file gets an entry. ``POST /v2/proposals/{proposal}/accept-for-good``"""
        return self._call("acceptProposalForGood", {"proposal": proposal})

    def decline_proposal(self, *, proposal: str) -> Proposal:
        """Decline a proposal, or end a yes that is not for good. ``POST /v2/proposals/{proposal}/decline``"""
        return self._call("declineProposal", {"proposal": proposal})

    def list_audit_events(self, *, since: str = UNSET, until: str = UNSET, event: str = UNSET, agent: str = UNSET, grant: str = UNSET, user: str = UNSET, by: str = UNSET, provider: str = UNSET, host: str = UNSET, outcome: Literal["allow", "deny", "ok", "failed", "aborted"] = UNSET, lease: str = UNSET, exchange: str = UNSET, code: str = UNSET, order: Literal["asc", "desc"] = UNSET, limit: int = UNSET) -> Iterator[AuditLine]:
        """List the events that meet every condition, the newest first. ``GET /v2/audit/events``"""
        return self._pages("listAuditEvents", {"since": since, "until": until, "event": event, "agent": agent, "grant": grant, "user": user, "by": by, "provider": provider, "host": host, "outcome": outcome, "lease": lease, "exchange": exchange, "code": code, "order": order, "limit": limit})

    def stream_audit_events(self, *, since: str = UNSET, until: str = UNSET, event: str = UNSET, agent: str = UNSET, grant: str = UNSET, user: str = UNSET, by: str = UNSET, provider: str = UNSET, host: str = UNSET, outcome: Literal["allow", "deny", "ok", "failed", "aborted"] = UNSET, lease: str = UNSET, exchange: str = UNSET, code: str = UNSET, lines: int = UNSET) -> Iterator[AuditLine]:
        """Stream the events that meet every condition, as server-sent events. ``GET /v2/audit/stream``"""
        return self._stream("streamAuditEvents", {"since": since, "until": until, "event": event, "agent": agent, "grant": grant, "user": user, "by": by, "provider": provider, "host": host, "outcome": outcome, "lease": lease, "exchange": exchange, "code": code, "lines": lines})

    def verify_audit(self) -> VerifyAuditResult:
        """Check that no line was edited, removed or cut off. ``GET /v2/audit/verify``"""
        return self._call("verifyAudit", {})

    def summarize_audit(self, *, since: str = UNSET, until: str = UNSET, event: str = UNSET, agent: str = UNSET, grant: str = UNSET, user: str = UNSET, by: str = UNSET, provider: str = UNSET, host: str = UNSET, outcome: Literal["allow", "deny", "ok", "failed", "aborted"] = UNSET, lease: str = UNSET, exchange: str = UNSET, code: str = UNSET, limit: int = UNSET) -> Iterator[SummarizeAuditResult]:
        """Count requests, refusals, bytes and durations of each agent and grant. ``GET /v2/audit/summary``"""
        return self._pages("summarizeAudit", {"since": since, "until": until, "event": event, "agent": agent, "grant": grant, "user": user, "by": by, "provider": provider, "host": host, "outcome": outcome, "lease": lease, "exchange": exchange, "code": code, "limit": limit})

    def get_metrics(self, *, since: str, until: str = UNSET, step: int = UNSET) -> Metrics:
        """Count exchanges, refusals, failures and refreshes over time, with the latencies. ``GET /v2/metrics``"""
        return self._call("getMetrics", {"since": since, "until": until, "step": step})

    def get_keys(self) -> Keys:
        """Show the master keys of the store, and whether a rotation is finished. ``GET /v2/key``"""
        return self._call("getKeys", {})

    def rotate_key(self, *, retire: str = UNSET) -> RotateKeyResult:
        """Rotate the master key, or resume a rotation; for sources that keep the key themselves. ``POST /v2/key/rotate``"""
        return self._call("rotateKey", {"retire": retire})

    def list_nodes(self, *, limit: int = UNSET) -> Iterator[Node]:
        """List the nodes of a store that several machines share. ``GET /v2/nodes``"""
        return self._pages("listNodes", {"limit": limit})

    def revoke_node(self, *, node: str) -> RevokeNodeResult:
        """Take the master key from a node. Rotate the key after that. ``DELETE /v2/nodes/{node}``"""
        return self._call("revokeNode", {"node": node})

    def get_status(self) -> Status:
        """Show health and open problems. ``GET /v2/status``"""
        return self._call("getStatus", {})

    def run_doctor(self, *, only: list[str] = UNSET, offline: bool = UNSET) -> RunDoctorResult:
        """Check the setup, and the programs of this machine that use the proxy. ``POST /v2/doctor``"""
        return self._call("runDoctor", {"only": only, "offline": offline})

    def get_ca(self) -> GetCaResult:
        """Show the certificate that clients trust. ``GET /v2/ca``"""
        return self._call("getCa", {})

    def export_ca(self, *, format: Literal["pem", "bundle"] = UNSET) -> ExportCaResult:
        """Export the certificates that clients trust, as PEM; none of it is secret. ``GET /v2/ca/certificate``"""
        return self._call("exportCa", {"format": format})

    def get_environment(self, *, proxy: str = UNSET, agent: str = UNSET, grants: list[str] = UNSET, ttl: str = UNSET) -> GetEnvironmentResult:
        """Return the variables that make programs use the proxy; with `agent` for a new lease. ``POST /v2/environment``"""
        return self._call("getEnvironment", {"proxy": proxy, "agent": agent, "grants": grants, "ttl": ttl})

    def send_request(self, *, url: str, method: str = UNSET, headers: list[str] = UNSET, body: str = UNSET, grant: str = UNSET, user: str = UNSET, agent: str = UNSET, reason: str = UNSET) -> SendRequestResult:
        """Send one request with a grant's credential, through the same checks as any other. ``POST /v2/requests``"""
        return self._call("sendRequest", {"method": method, "url": url, "headers": headers, "body": body, "grant": grant, "user": user, "agent": agent, "reason": reason})

    def get_config(self) -> Config:
        """Read the text of the config file. ``GET /v2/config``"""
        return self._call("getConfig", {})

    def put_config(self, *, text: str) -> Config:
        """Replace the text of the config file, if it is valid. Requires If-Match. ``PUT /v2/config``"""
        return self._call("putConfig", {"text": text})

    def check_config(self, *, text: str) -> CheckConfigResult:
        """Validate a text before it replaces the config file. ``POST /v2/config/check``"""
        return self._call("checkConfig", {"text": text})

    def test_config(self, *, cases: str) -> TestConfigResult:
        """Compare the decisions of the config with a list of requests and expected decisions (docs/rules.md). ``POST /v2/config/test``"""
        return self._call("testConfig", {"cases": cases})

    def get_paths(self) -> GetPathsResult:
        """Show the paths of the config file, store, key, CA and audit log. ``GET /v2/config/paths``"""
        return self._call("getPaths", {})

    def list_api_keys(self, *, limit: int = UNSET) -> Iterator[ApiKey]:
        """List the keys of the API. ``GET /v2/api-keys``"""
        return self._pages("listApiKeys", {"limit": limit})

    def create_api_key(self, *, name: str, role: Literal["operator", "approver", "auditor", "user"], scopes: list[Literal["grants:read", "grants:write", "tokens:read", "tokens:write", "access:read", "access:write", "approvals:read", "approvals:write", "audit:read", "config:read", "config:write", "requests:send", "status:read"]] = UNSET, user: str = UNSET, person: str = UNSET, expires: str = UNSET) -> CreatedApiKey:
        """Create a key with at most the scopes of the caller. The answer has it, once. ``POST /v2/api-keys``"""
        return self._call("createApiKey", {"name": name, "role": role, "scopes": scopes, "user": user, "person": person, "expires": expires})

    def revoke_api_key(self, *, key: str) -> RevokeApiKeyResult:
        """End a key at once. ``DELETE /v2/api-keys/{key}``"""
        return self._call("revokeApiKey", {"key": key})

    def get_me(self) -> Me:
        """Show the caller. ``GET /v2/me``"""
        return self._call("getMe", {})

    def list_people(self, *, limit: int = UNSET) -> Iterator[Person]:
        """List the people who sign in at the pages. ``GET /v2/people``"""
        return self._pages("listPeople", {"limit": limit})

    def create_person(self, *, name: str, role: Literal["operator", "approver", "auditor", "user"], user: str = UNSET) -> Person:
        """Create a person. ``POST /v2/people``"""
        return self._call("createPerson", {"name": name, "role": role, "user": user})

    def get_person(self, *, person: str) -> Person:
        """Show a person. ``GET /v2/people/{person}``"""
        return self._call("getPerson", {"person": person})

    def change_person(self, *, person: str, role: Literal["operator", "approver", "auditor", "user"] = UNSET, disabled: bool = UNSET) -> Person:
        """Change the role of a person; disable or enable the person. ``PATCH /v2/people/{person}``"""
        return self._call("changePerson", {"person": person, "role": role, "disabled": disabled})

    def remove_person(self, *, person: str) -> RemovePersonResult:
        """Remove a person with passkeys and sessions. ``DELETE /v2/people/{person}``"""
        return self._call("removePerson", {"person": person})

    def link_person(self, *, person: str) -> LinkPersonResult:
        """Make an address that signs a person in, once, within 10 minutes. ``POST /v2/people/{person}/link``"""
        return self._call("linkPerson", {"person": person})

    def create_login_code(self, *, challenge: str) -> CreateLoginCodeResult:
        """Let a command line get a key of the signed-in person, of at most 12 hours. ``POST /v2/me/login-codes``"""
        return self._call("createLoginCode", {"challenge": challenge})

    def revoke_own_key(self) -> RevokeOwnKeyResult:
        """End the key of this request. ``DELETE /v2/me/key``"""
        return self._call("revokeOwnKey", {})


class AsyncOperations:
    """Methods of the asynchronous client, one for each operation of the API."""

    async def _call(self, operation: str, given: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _pages(self, operation: str, given: dict[str, Any]) -> AsyncIterator[Any]:
        raise NotImplementedError

    def _stream(self, operation: str, given: dict[str, Any]) -> AsyncIterator[Any]:
        raise NotImplementedError

    async def create_token(self, *, user: str, integration_key: str, provider: str, token_type: Literal["oauth2", "api_key", "jwt"], token_data: CreateTokenTokenData, scopes: list[str] = UNSET, expires_at: str = UNSET) -> TokenMetadata:
        """Store a token of a user. ``POST /v2/users/{user}/tokens``"""
        return await self._call("createToken", {"user": user, "integration_key": integration_key, "provider": provider, "token_type": token_type, "token_data": token_data, "scopes": scopes, "expires_at": expires_at})

    def list_tokens(self, *, user: str, limit: int = UNSET) -> AsyncIterator[TokenMetadata]:
        """List the tokens of a user, without their values. ``GET /v2/users/{user}/tokens``"""
        return self._pages("listTokens", {"user": user, "limit": limit})

    async def get_token(self, *, user: str, integration_key: str) -> Token:
        """Show a token, refreshed first where it is due. ``GET /v2/users/{user}/tokens/{integration_key}``"""
        return await self._call("getToken", {"user": user, "integration_key": integration_key})

    async def delete_token(self, *, user: str, integration_key: str) -> None:
        """End a token, here and at the provider, and delete it. ``DELETE /v2/users/{user}/tokens/{integration_key}``"""
        return await self._call("deleteToken", {"user": user, "integration_key": integration_key})

    async def refresh_token(self, *, user: str, integration_key: str) -> Token:
        """Get a new token from the provider in any case. ``POST /v2/users/{user}/tokens/{integration_key}/refresh``"""
        return await self._call("refreshToken", {"user": user, "integration_key": integration_key})

    def list_grants(self, *, user: str = UNSET, limit: int = UNSET) -> AsyncIterator[GrantInList]:
        """List the grants. ``GET /v2/grants``"""
        return self._pages("listGrants", {"user": user, "limit": limit})

    async def add_grant(self, *, provider: str, credential: str | dict[str, Any], name: str = UNSET, user: str = UNSET, audience: list[str] = UNSET, replace: bool = UNSET, verify: bool = UNSET) -> AddedGrant:
        """Store a credential that exists, after it was verified. ``POST /v2/grants``"""
        return await self._call("addGrant", {"name": name, "provider": provider, "user": user, "credential": credential, "audience": audience, "replace": replace, "verify": verify})

    async def get_grant(self, *, grant: str, user: str = UNSET) -> Grant:
        """Show a grant, without its secret. ``GET /v2/grants/{grant}``"""
        return await self._call("getGrant", {"grant": grant, "user": user})

    async def change_grant(self, *, grant: str, user: str = UNSET, expires: str = UNSET, ttl: str = UNSET, max_ttl: str | Literal["none"] = UNSET, lease_ttl: str | Literal["none"] = UNSET, max_lease_ttl: str | Literal["none"] = UNSET, labels: list[str] = UNSET, metadata: dict[str, str] = UNSET, scopes: list[str] = UNSET) -> GrantSettings:
        """Change the expiry, the lease times, the labels, the metadata or the scopes of a grant. ``PATCH /v2/grants/{grant}``"""
        return await self._call("changeGrant", {"grant": grant, "user": user, "expires": expires, "ttl": ttl, "max_ttl": max_ttl, "lease_ttl": lease_ttl, "max_lease_ttl": max_lease_ttl, "labels": labels, "metadata": metadata, "scopes": scopes})

    async def remove_grant(self, *, grant: str, user: str = UNSET, local: str = UNSET) -> RemovedGrant:
        """End a grant, here and at the provider, and delete it. ``DELETE /v2/grants/{grant}``"""
        return await self._call("removeGrant", {"grant": grant, "user": user, "local": local})

    async def refresh_grant(self, *, grant: str, user: str = UNSET, force: bool = UNSET) -> RefreshedGrant:
        """Get a new token where the stored one is due or has ended. ``POST /v2/grants/{grant}/refresh``"""
        return await self._call("refreshGrant", {"grant": grant, "user": user, "force": force})

    async def revoke_grant(self, *, grant: str, user: str = UNSET, local: bool = UNSET) -> RevokedGrant:
        """End a grant, here and at the provider; it stays in the list. ``POST /v2/grants/{grant}/revoke``"""
        return await self._call("revokeGrant", {"grant": grant, "user": user, "local": local})

    async def create_connect_session(self, *, provider: str, user: str, scopes: list[str] = UNSET, name: str = UNSET, grant_policy: CreateConnectSessionGrantPolicy = UNSET, return_url: str = UNSET, popup_origin: str = UNSET) -> CreatedConnectSession:
        """Begin a session in which a person connects an account in a browser. ``POST /v2/connect-sessions``"""
        return await self._call("createConnectSession", {"provider": provider, "user": user, "scopes": scopes, "name": name, "grant_policy": grant_policy, "return_url": return_url, "popup_origin": popup_origin})

    async def create_device_session(self, *, provider: str, user: str, scopes: list[str] = UNSET, name: str = UNSET, grant_policy: CreateDeviceSessionGrantPolicy = UNSET) -> DeviceSession:
        """Begin a session in which a person types a code on another device. ``POST /v2/connect-sessions/device``"""
        return await self._call("createDeviceSession", {"provider": provider, "user": user, "scopes": scopes, "name": name, "grant_policy": grant_policy})

    async def get_connect_session(self, *, id: str) -> ConnectSession:
        """Show the state of a session; it can be read for a day. ``GET /v2/connect-sessions/{id}``"""
        return await self._call("getConnectSession", {"id": id})

    def list_domains(self, *, limit: int = UNSET) -> AsyncIterator[Domain]:
        """List the allowed-domains map, with its rules. ``GET /v2/domains``"""
        return self._pages("listDomains", {"limit": limit})

    async def preview_domain(self, *, text: str, host: str, action: Literal["grant", "tunnel", "deny", "remove"], grant: str = UNSET) -> PreviewDomainResult:
        """Return the text of the config file after a change of the map; write nothing. ``POST /v2/domains/preview``"""
        return await self._call("previewDomain", {"text": text, "host": host, "action": action, "grant": grant})

    async def get_domain(self, *, host: str) -> list[Domain]:
        """Show the entry that covers a host, as an array of one. ``GET /v2/domains/{host}``"""
        return await self._call("getDomain", {"host": host})

    async def put_domain(self, *, host: str, action: Literal["grant"] | Literal["tunnel"] | Literal["deny"], grant: str = UNSET, allow_plain_http: bool = UNSET) -> ChangedDomain:
        """Write an entry of the map into the config file. ``PUT /v2/domains/{host}``"""
        return await self._call("putDomain", {"host": host, "action": action, "grant": grant, "allow_plain_http": allow_plain_http})

    async def remove_domain(self, *, host: str) -> ChangedDomain:
        """Remove an entry of the map from the config file. ``DELETE /v2/domains/{host}``"""
        return await self._call("removeDomain", {"host": host})

    def list_providers(self, *, text: str = UNSET, limit: int = UNSET) -> AsyncIterator[Provider]:
        """List the providers. ``GET /v2/providers``"""
        return self._pages("listProviders", {"text": text, "limit": limit})

    async def get_provider(self, *, provider: str) -> Provider:
        """Show how to connect to a provider, and which hosts get its tokens. ``GET /v2/providers/{provider}``"""
        return await self._call("getProvider", {"provider": provider})

    async def explain_request(self, *, url: str, method: str = UNSET, agent: str = UNSET, lease: str = UNSET, user: str = UNSET, grant: str = UNSET, headers: list[str] = UNSET, body: str = UNSET, client: str = UNSET, at: str = UNSET) -> Explanation:
        """Show what would happen to a request; send nothing. ``POST /v2/explain``"""
        return await self._call("explainRequest", {"method": method, "url": url, "agent": agent, "lease": lease, "user": user, "grant": grant, "headers": headers, "body": body, "client": client, "at": at})

    def list_agents(self, *, limit: int = UNSET) -> AsyncIterator[AgentInList]:
        """List the agents. ``GET /v2/agents``"""
        return self._pages("listAgents", {"limit": limit})

    async def create_agent(self, *, name: str, grants: list[str] = UNSET, providers: list[str] = UNSET, users: list[str] = UNSET, labels: list[str] = UNSET, everything: bool = UNSET, egress: list[str] = UNSET, acts_for: str = UNSET, agent_labels: list[str] = UNSET, token_label: str = UNSET, expires: str = UNSET, token: bool = UNSET) -> CreatedAgent:
        """Create an agent. The answer has its token, once. ``POST /v2/agents``"""
        return await self._call("createAgent", {"grants": grants, "providers": providers, "users": users, "labels": labels, "everything": everything, "egress": egress, "name": name, "acts_for": acts_for, "agent_labels": agent_labels, "token_label": token_label, "expires": expires, "token": token})

    async def get_agent(self, *, agent: str) -> Agent:
        """Show an agent, and the grants that it reaches. ``GET /v2/agents/{agent}``"""
        return await self._call("getAgent", {"agent": agent})

    async def change_agent(self, *, agent: str, acts_for: str | None = UNSET, agent_labels: list[str] = UNSET, disabled: bool = UNSET) -> ChangeAgentResult:
        """Change the user and the labels of an agent; disable or enable it. ``PATCH /v2/agents/{agent}``"""
        return await self._call("changeAgent", {"agent": agent, "acts_for": acts_for, "agent_labels": agent_labels, "disabled": disabled})

    async def remove_agent(self, *, agent: str, token_label: str = UNSET) -> RemoveAgentResult1 | RemoveAgentResult2:
        """Remove an agent with its tokens, bindings and leases; or only its tokens of a label. ``DELETE /v2/agents/{agent}``"""
        return await self._call("removeAgent", {"agent": agent, "token_label": token_label})

    async def bind_agent(self, *, agent: str, grants: list[str] = UNSET, providers: list[str] = UNSET, users: list[str] = UNSET, labels: list[str] = UNSET, everything: bool = UNSET, egress: list[str] = UNSET, remove: bool = UNSET, all: bool = UNSET) -> BoundAgent:
        """Let an agent use more grants, or fewer with `remove`. ``POST /v2/agents/{agent}/bind``"""
        return await self._call("bindAgent", {"agent": agent, "grants": grants, "providers": providers, "users": users, "labels": labels, "everything": everything, "egress": egress, "remove": remove, "all": all})

    async def rotate_agent(self, *, agent: str, overlap: str = UNSET, token_label: str = UNSET, all: bool = UNSET, expires: str = UNSET) -> RotateAgentResult:
        """Create a token that replaces the one before. The answer has it, once. ``POST /v2/agents/{agent}/rotate``"""
        return await self._call("rotateAgent", {"agent": agent, "overlap": overlap, "token_label": token_label, "all": all, "expires": expires})

    def list_leases(self, *, agent: str = UNSET, grant: str = UNSET, all: str = UNSET, limit: int = UNSET) -> AsyncIterator[Lease]:
        """List the active leases; with `all` also those that have ended. ``GET /v2/leases``"""
        return self._pages("listLeases", {"agent": agent, "grant": grant, "all": all, "limit": limit})

    async def create_lease(self, *, agent: str, purpose: str, grants: list[str] = UNSET, credentials: list[CreateLeaseCredentialsItem] = UNSET, egress: list[str] = UNSET, ttl: str = UNSET, idle: str = UNSET, max_uses: int = UNSET) -> CreatedLease:
        """Let an agent use grants for a while. The answer has the token, once. ``POST /v2/leases``"""
        return await self._call("createLease", {"agent": agent, "grants": grants, "credentials": credentials, "egress": egress, "purpose": purpose, "ttl": ttl, "idle": idle, "max_uses": max_uses})

    async def get_lease(self, *, lease: str) -> LeaseInFull:
        """Show a lease. ``GET /v2/leases/{lease}``"""
        return await self._call("getLease", {"lease": lease})

    async def renew_lease(self, *, lease: str, ttl: str = UNSET, uses: int = UNSET) -> RenewedLease:
        """Give a lease a new end, counted from now. ``POST /v2/leases/{lease}/renew``"""
        return await self._call("renewLease", {"lease": lease, "ttl": ttl, "uses": uses})

    async def revoke_lease(self, *, lease: str) -> RevokeLeaseResult:
        """End a lease, from the next request on. ``POST /v2/leases/{lease}/revoke``"""
        return await self._call("revokeLease", {"lease": lease})

    async def revoke_leases(self, *, agent: str = UNSET, grant: str = UNSET) -> RevokeLeasesResult:
        """End all leases of an agent, or all for a grant. ``POST /v2/leases/revoke``"""
        return await self._call("revokeLeases", {"agent": agent, "grant": grant})

    def list_approvals(self, *, limit: int = UNSET) -> AsyncIterator[Approval]:
        """List the requests that wait for a person. ``GET /v2/approvals``"""
        return self._pages("listApprovals", {"limit": limit})

    def list_standing_approvals(self, *, limit: int = UNSET) -> AsyncIterator[StandingApproval]:
        """List the approvals that are in force. ``GET /v2/approvals/standing``"""
        return self._pages("listStandingApprovals", {"limit": limit})

    async def answer_approval(self, *, approval: str, answer: Literal["once", "lease", "deny"] | Literal["for"], span: str = UNSET) -> Approval:
        """Answer a request that waits. ``POST /v2/approvals/{approval}``"""
        return await self._call("answerApproval", {"approval": approval, "answer": answer, "span": span})

    async def revoke_approval(self, *, approval: str) -> StandingApproval:
        """End an approval that is in force. ``DELETE /v2/approvals/{approval}``"""
        return await self._call("revokeApproval", {"approval": approval})

    def list_proposals(self, *, limit: int = UNSET) -> AsyncIterator[Proposal]:
        """List the changes that agents propose. ``GET /v2/proposals``"""
        return self._pages("listProposals", {"limit": limit})

    async def get_proposal(self, *, proposal: str) -> ProposalWithEffect:
        """Show a proposal, and what a yes changes. ``GET /v2/proposals/{proposal}``"""
        return await self._call("getProposal", {"proposal": proposal})

    async def accept_proposal(self, *, proposal: str, reach: Literal["once", "lease"] = UNSET) -> ProposalWithEffect:
        """Accept a proposal: a domain once or for the lease; a grant or scopes, to be connected. ``POST /v2/proposals/{proposal}/accept``"""
        return await self._call("acceptProposal", {"proposal": proposal, "reach": reach})

    async def accept_proposal_for_good(self, *, proposal: str) -> ProposalWithEffect:
        """Accept a proposed domain for good: the config file gets an entry. ``POST /v2/proposals/{proposal}/accept-for-good``"""
        return await self._call("acceptProposalForGood", {"proposal": proposal})

    async def decline_proposal(self, *, proposal: str) -> Proposal:
        """Decline a proposal, or end a yes that is not for good. ``POST /v2/proposals/{proposal}/decline``"""
        return await self._call("declineProposal", {"proposal": proposal})

    def list_audit_events(self, *, since: str = UNSET, until: str = UNSET, event: str = UNSET, agent: str = UNSET, grant: str = UNSET, user: str = UNSET, by: str = UNSET, provider: str = UNSET, host: str = UNSET, outcome: Literal["allow", "deny", "ok", "failed", "aborted"] = UNSET, lease: str = UNSET, exchange: str = UNSET, code: str = UNSET, order: Literal["asc", "desc"] = UNSET, limit: int = UNSET) -> AsyncIterator[AuditLine]:
        """List the events that meet every condition, the newest first. ``GET /v2/audit/events``"""
        return self._pages("listAuditEvents", {"since": since, "until": until, "event": event, "agent": agent, "grant": grant, "user": user, "by": by, "provider": provider, "host": host, "outcome": outcome, "lease": lease, "exchange": exchange, "code": code, "order": order, "limit": limit})

    def stream_audit_events(self, *, since: str = UNSET, until: str = UNSET, event: str = UNSET, agent: str = UNSET, grant: str = UNSET, user: str = UNSET, by: str = UNSET, provider: str = UNSET, host: str = UNSET, outcome: Literal["allow", "deny", "ok", "failed", "aborted"] = UNSET, lease: str = UNSET, exchange: str = UNSET, code: str = UNSET, lines: int = UNSET) -> AsyncIterator[AuditLine]:
        """Stream the events that meet every condition, as server-sent events. ``GET /v2/audit/stream``"""
        return self._stream("streamAuditEvents", {"since": since, "until": until, "event": event, "agent": agent, "grant": grant, "user": user, "by": by, "provider": provider, "host": host, "outcome": outcome, "lease": lease, "exchange": exchange, "code": code, "lines": lines})

    async def verify_audit(self) -> VerifyAuditResult:
        """Check that no line was edited, removed or cut off. ``GET /v2/audit/verify``"""
        return await self._call("verifyAudit", {})

    def summarize_audit(self, *, since: str = UNSET, until: str = UNSET, event: str = UNSET, agent: str = UNSET, grant: str = UNSET, user: str = UNSET, by: str = UNSET, provider: str = UNSET, host: str = UNSET, outcome: Literal["allow", "deny", "ok", "failed", "aborted"] = UNSET, lease: str = UNSET, exchange: str = UNSET, code: str = UNSET, limit: int = UNSET) -> AsyncIterator[SummarizeAuditResult]:
        """Count requests, refusals, bytes and durations of each agent and grant. ``GET /v2/audit/summary``"""
        return self._pages("summarizeAudit", {"since": since, "until": until, "event": event, "agent": agent, "grant": grant, "user": user, "by": by, "provider": provider, "host": host, "outcome": outcome, "lease": lease, "exchange": exchange, "code": code, "limit": limit})

    async def get_metrics(self, *, since: str, until: str = UNSET, step: int = UNSET) -> Metrics:
        """Count exchanges, refusals, failures and refreshes over time, with the latencies. ``GET /v2/metrics``"""
        return await self._call("getMetrics", {"since": since, "until": until, "step": step})

    async def get_keys(self) -> Keys:
        """Show the master keys of the store, and whether a rotation is finished. ``GET /v2/key``"""
        return await self._call("getKeys", {})

    async def rotate_key(self, *, retire: str = UNSET) -> RotateKeyResult:
        """Rotate the master key, or resume a rotation; for sources that keep the key themselves. ``POST /v2/key/rotate``"""
        return await self._call("rotateKey", {"retire": retire})

    def list_nodes(self, *, limit: int = UNSET) -> AsyncIterator[Node]:
        """List the nodes of a store that several machines share. ``GET /v2/nodes``"""
        return self._pages("listNodes", {"limit": limit})

    async def revoke_node(self, *, node: str) -> RevokeNodeResult:
        """Take the master key from a node. Rotate the key after that. ``DELETE /v2/nodes/{node}``"""
        return await self._call("revokeNode", {"node": node})

    async def get_status(self) -> Status:
        """Show health and open problems. ``GET /v2/status``"""
        return await self._call("getStatus", {})

    async def run_doctor(self, *, only: list[str] = UNSET, offline: bool = UNSET) -> RunDoctorResult:
        """Check the setup, and the programs of this machine that use the proxy. ``POST /v2/doctor``"""
        return await self._call("runDoctor", {"only": only, "offline": offline})

    async def get_ca(self) -> GetCaResult:
        """Show the certificate that clients trust. ``GET /v2/ca``"""
        return await self._call("getCa", {})

    async def export_ca(self, *, format: Literal["pem", "bundle"] = UNSET) -> ExportCaResult:
        """Export the certificates that clients trust, as PEM; none of it is secret. ``GET /v2/ca/certificate``"""
        return await self._call("exportCa", {"format": format})

    async def get_environment(self, *, proxy: str = UNSET, agent: str = UNSET, grants: list[str] = UNSET, ttl: str = UNSET) -> GetEnvironmentResult:
        """Return the variables that make programs use the proxy; with `agent` for a new lease. ``POST /v2/environment``"""
        return await self._call("getEnvironment", {"proxy": proxy, "agent": agent, "grants": grants, "ttl": ttl})

    async def send_request(self, *, url: str, method: str = UNSET, headers: list[str] = UNSET, body: str = UNSET, grant: str = UNSET, user: str = UNSET, agent: str = UNSET, reason: str = UNSET) -> SendRequestResult:
        """Send one request with a grant's credential, through the same checks as any other. ``POST /v2/requests``"""
        return await self._call("sendRequest", {"method": method, "url": url, "headers": headers, "body": body, "grant": grant, "user": user, "agent": agent, "reason": reason})

    async def get_config(self) -> Config:
        """Read the text of the config file. ``GET /v2/config``"""
        return await self._call("getConfig", {})

    async def put_config(self, *, text: str) -> Config:
        """Replace the text of the config file, if it is valid. Requires If-Match. ``PUT /v2/config``"""
        return await self._call("putConfig", {"text": text})

    async def check_config(self, *, text: str) -> CheckConfigResult:
        """Validate a text before it replaces the config file. ``POST /v2/config/check``"""
        return await self._call("checkConfig", {"text": text})

    async def test_config(self, *, cases: str) -> TestConfigResult:
        """Compare the decisions of the config with a list of requests and expected decisions (docs/rules.md). ``POST /v2/config/test``"""
        return await self._call("testConfig", {"cases": cases})

    async def get_paths(self) -> GetPathsResult:
        """Show the paths of the config file, store, key, CA and audit log. ``GET /v2/config/paths``"""
        return await self._call("getPaths", {})

    def list_api_keys(self, *, limit: int = UNSET) -> AsyncIterator[ApiKey]:
        """List the keys of the API. ``GET /v2/api-keys``"""
        return self._pages("listApiKeys", {"limit": limit})

    async def create_api_key(self, *, name: str, role: Literal["operator", "approver", "auditor", "user"], scopes: list[Literal["grants:read", "grants:write", "tokens:read", "tokens:write", "access:read", "access:write", "approvals:read", "approvals:write", "audit:read", "config:read", "config:write", "requests:send", "status:read"]] = UNSET, user: str = UNSET, person: str = UNSET, expires: str = UNSET) -> CreatedApiKey:
        """Create a key with at most the scopes of the caller. The answer has it, once. ``POST /v2/api-keys``"""
        return await self._call("createApiKey", {"name": name, "role": role, "scopes": scopes, "user": user, "person": person, "expires": expires})

    async def revoke_api_key(self, *, key: str) -> RevokeApiKeyResult:
        """End a key at once. ``DELETE /v2/api-keys/{key}``"""
        return await self._call("revokeApiKey", {"key": key})

    async def get_me(self) -> Me:
        """Show the caller. ``GET /v2/me``"""
        return await self._call("getMe", {})

    def list_people(self, *, limit: int = UNSET) -> AsyncIterator[Person]:
        """List the people who sign in at the pages. ``GET /v2/people``"""
        return self._pages("listPeople", {"limit": limit})

    async def create_person(self, *, name: str, role: Literal["operator", "approver", "auditor", "user"], user: str = UNSET) -> Person:
        """Create a person. ``POST /v2/people``"""
        return await self._call("createPerson", {"name": name, "role": role, "user": user})

    async def get_person(self, *, person: str) -> Person:
        """Show a person. ``GET /v2/people/{person}``"""
        return await self._call("getPerson", {"person": person})

    async def change_person(self, *, person: str, role: Literal["operator", "approver", "auditor", "user"] = UNSET, disabled: bool = UNSET) -> Person:
        """Change the role of a person; disable or enable the person. ``PATCH /v2/people/{person}``"""
        return await self._call("changePerson", {"person": person, "role": role, "disabled": disabled})

    async def remove_person(self, *, person: str) -> RemovePersonResult:
        """Remove a person with passkeys and sessions. ``DELETE /v2/people/{person}``"""
        return await self._call("removePerson", {"person": person})

    async def link_person(self, *, person: str) -> LinkPersonResult:
        """Make an address that signs a person in, once, within 10 minutes. ``POST /v2/people/{person}/link``"""
        return await self._call("linkPerson", {"person": person})

    async def create_login_code(self, *, challenge: str) -> CreateLoginCodeResult:
        """Let a command line get a key of the signed-in person, of at most 12 hours. ``POST /v2/me/login-codes``"""
        return await self._call("createLoginCode", {"challenge": challenge})

    async def revoke_own_key(self) -> RevokeOwnKeyResult:
        """End the key of this request. ``DELETE /v2/me/key``"""
        return await self._call("revokeOwnKey", {})
