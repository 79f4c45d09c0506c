"""Shows the rules of linked workspaces, the current one and API keys, and that each change takes effect at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from eventsourcing.utils import get_topic

from domain.access import Access, User
from domain.api_keys import secret_sha256
from domain.recorder import Pool
from domain.refusals import AccessError, NotLinkedError, UnknownKeyError
from projections import access
from projections.queries.caller import Asked, Caller, Credentials, check, who
from service.clock import clock

BY = "cli:test"


def ignore(_: object) -> None:
    """Prove nothing."""


def visible(pool: Pool, user: str, asked: Asked) -> list[int]:
    """Return the asked workspaces that the user may see, by the rows that requests are checked against."""
    with pool.connection() as database:
        return sorted(check(database, Credentials(session_user=user), asked).open(ignore) or [])


def test_the_first_workspace_of_a_user_without_any_becomes_the_current_one(pool: Pool, users: Access) -> None:
    """Later ones do not; once it is unlinked none is current, until one is selected or all are gone."""
    users.link("u", 1, BY)
    users.link("u", 2, BY)
    assert visible(pool, "u", Asked()) == [1]
    users.unlink("u", 1, BY)
    assert visible(pool, "u", Asked()) == []
    users.link("u", 3, BY)
    assert visible(pool, "u", Asked()) == []
    users.select("u", 3, BY)
    assert visible(pool, "u", Asked()) == [3]
    users.unlink("u", 2, BY)
    users.unlink("u", 3, BY)
    users.link("u", 4, BY)
    assert visible(pool, "u", Asked()) == [4]
    user = users.user("u")
    assert user is not None
    assert (user.linked_workspaces, user.current_workspace) == ([4], 4)


def test_a_user_sees_only_their_linked_workspaces(pool: Pool, users: Access) -> None:
    """By number, and all of them; a foreign workspace and an absent one look the same."""
    users.link("u", 1, BY)
    users.link("u", 2, BY)
    users.link("other", 3, BY)
    assert visible(pool, "u", Asked(every=True)) == [1, 2]
    assert [visible(pool, "u", Asked(workspace_id)) for workspace_id in (1, 3, 99)] == [[1], [], []]
    users.unlink("u", 1, BY)
    assert visible(pool, "u", Asked(every=True)) == [2]
    assert visible(pool, "u", Asked(1)) == []


def test_only_a_linked_workspace_can_be_selected(users: Access) -> None:
    """The current workspace is one of the linked ones or none."""
    with pytest.raises(NotLinkedError):
        users.select("u", 1, BY)


def test_what_is_so_already_is_no_event(users: Access) -> None:
    """Linking twice, unlinking what is not linked, selecting the current one, revoking a key twice."""
    users.link("u", 1, BY)
    prefix = users.issue_key("u", scopes=["read"], name="", expires_at=None, by=BY).about.prefix
    users.revoke_key("u", prefix, BY)
    before = users.history("u")
    users.link("u", 1, BY)
    users.unlink("u", 2, BY)
    users.select("u", 1, BY)
    users.revoke_key("u", prefix, BY)
    assert users.history("u") == before
    users.unlink("nobody", 2, BY)
    assert users.history("nobody") == []


def test_a_key_that_the_user_never_had_cannot_be_revoked(users: Access) -> None:
    """Nobody is to believe that a key is gone which is another user's and goes on."""
    prefix = users.issue_key("u", scopes=["read"], name="", expires_at=None, by=BY).about.prefix
    for user in ("u", "other"):
        with pytest.raises(UnknownKeyError):
            users.revoke_key(user, prefix if user == "other" else "ca_unknown", BY)


def test_of_a_key_only_the_hash_is_stored(pool: Pool, users: Access) -> None:
    """Neither the events nor the rows hold the secret."""
    issued = users.issue_key("u", scopes=["write", "read"], name="n", expires_at=5, by=BY)
    prefix, _, secret = issued.key.partition(".")
    assert prefix == issued.about.prefix
    assert len(secret) >= 43, "32 random bytes"
    with pool.connection() as database:
        callers: list[Caller | None] = []
        who(database, Credentials(prefix=prefix)).open(callers.append)
        stored = database.execute("SELECT string_agg(state, '') FROM stored_events").fetchone()
    [caller] = callers
    assert caller is not None
    assert (caller.user_id, caller.scopes, caller.expires_at) == ("u", ["read", "write"], 5)
    assert secret not in str(stored)
    assert secret not in str(caller)
    users.revoke_key("u", prefix, BY)
    with pool.connection() as database:
        who(database, Credentials(prefix=prefix)).open(callers.append)
        assert callers[1] is None
        assert access.owner_of_key(database, prefix) is None


def test_a_known_prefix_with_another_secret_sees_no_workspace(pool: Pool, users: Access) -> None:
    """So a guessed secret reads no row, and the time of the answer reveals nothing."""
    users.link("u", 340, BY)
    issued = users.issue_key("u", scopes=["read"], name="", expires_at=None, by=BY)
    prefix, _, secret = issued.key.partition(".")
    for sent_secret, workspaces in ((secret, [340]), (secret + "x", []), ("", [])):
        guessed = Credentials(prefix=prefix, secret_sha256=secret_sha256(sent_secret))
        with pool.connection() as database:
            for asked in (Asked(340), Asked(every=True), Asked()):
                callers: list[Caller | None] = []
                assert (check(database, guessed, asked).open(callers.append) or []) == workspaces
                assert callers != [None]


def test_each_event_says_when_and_by_whose_hand(pool: Pool, users: Access) -> None:
    """From the first one on; the users' events lie in log 0."""
    before = clock()
    users.link("u", 1, BY)
    users.issue_key("u", scopes=["read"], name="", expires_at=None, by="key:ca_1")
    events = list(users.events.get(User.create_id("u")))
    assert [type(event).__name__ for event in events] == ["Registered", "WorkspaceLinked", "KeyIssued"]
    assert [getattr(event, "by") for event in events] == [BY, BY, "key:ca_1"]  # noqa: B009 (not of the library's type)
    assert all(before <= getattr(event, "at") <= clock() for event in events)  # noqa: B009 (the same)
    with pool.connection() as database:
        assert database.execute("SELECT DISTINCT workspace_id FROM stored_events").fetchall() == [(0,)]


def test_the_topics_of_users_events_are_storage_format() -> None:
    """Renaming one would make stored events unreadable."""
    classes = [
        User.Registered,
        User.WorkspaceLinked,
        User.WorkspaceUnlinked,
        User.WorkspaceSelected,
        User.KeyIssued,
        User.KeyRevoked,
    ]
    assert [get_topic(each) for each in classes] == [
        "domain.access:User.Registered",
        "domain.access:User.WorkspaceLinked",
        "domain.access:User.WorkspaceUnlinked",
        "domain.access:User.WorkspaceSelected",
        "domain.access:User.KeyIssued",
        "domain.access:User.KeyRevoked",
    ]


def test_many_who_change_a_user_at_once_all_succeed(pool: Pool, users: Access) -> None:
    """A version conflict is tried again, not shown to anybody."""
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda workspace_id: users.link("u", workspace_id, BY), range(1, 25)))
    assert visible(pool, "u", Asked(every=True)) == list(range(1, 25))
    user = users.user("u")
    assert user is not None
    assert sorted(user.linked_workspaces) == list(range(1, 25))
    assert len(visible(pool, "u", Asked())) == 1


@pytest.mark.parametrize("user", ["", "a/b", "x" * 256, "nul\0"])
def test_a_user_id_that_cannot_be_one_is_refused(users: Access, user: str) -> None:
    """1–255 characters without a slash."""
    with pytest.raises(AccessError, match="user: expected"):
        users.link(user, 1, BY)


@pytest.mark.parametrize("workspace_id", [0, -1, 2**63])
def test_a_workspace_that_cannot_be_one_is_refused(users: Access, workspace_id: int) -> None:
    """Log 0 is no workspace."""
    with pytest.raises(AccessError, match="workspace: expected"):
        users.link("u", workspace_id, BY)


def test_a_user_id_of_any_characters_is_one(pool: Pool, users: Access) -> None:
    """Nothing is trimmed or folded."""
    for number, user in enumerate((" u", "u", "U", "ü" * 255), 1):
        users.link(user, number, BY)
    assert [visible(pool, user, Asked()) for user in (" u", "u", "U", "ü" * 255)] == [[1], [2], [3], [4]]
