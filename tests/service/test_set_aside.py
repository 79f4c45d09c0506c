"""Shows an operator's way past an event that can't be folded: recorded, shown, kept by replays, and taken back."""

import json
import pickle

import pytest

from domain.recorder import Pool
from projections.building import generations, replay, verification
from projections.building.batch import FoldError
from tests.support import reference
from tests.support.commands import Command
from tests.support.examples import email_sent
from tests.support.read_models import ignore, in_small_pieces, progress, project_all, shown, stuck_at
from tests.support.stored_events import execute, record, spoil

EVENTS = [email_sent(number) for number in range(10)]
WITHOUT = [event for place, event in enumerate(EVENTS, 1) if place != 6]
REASON = "a worker of the trial sent it"


@pytest.fixture
def stuck(pool: Pool) -> Pool:
    """Give a database in which workspace 1 is stuck at position 6."""
    record(pool, 1, *EVENTS)
    spoil(pool, 6, "topic")
    project_all(pool)
    assert stuck_at(pool, 1) == 6
    return pool


def test_a_workspace_goes_on_without_what_was_set_aside(command: Command, stuck: Pool) -> None:
    """At once; and the status goes on showing it."""
    code, out, err = command("set-aside", "--workspace", "1", "--position", "6", "--reason", REASON)
    assert (code, out, err) == (0, "", "workspace 1 goes on without position 6\n")
    project_all(stuck)
    assert progress(stuck, 1) == (10, 10, None)
    assert shown(stuck, 1) == reference.campaigns(WITHOUT)
    err = command("status").err
    assert "set aside: workspace 1 position 6, domain.events:FromTheFuture (unknown topic" in err
    assert REASON in err
    [mark] = json.loads(command("status", "--json").out)["workspaces"][0]["set_aside"]
    assert mark.pop("at").endswith("Z")
    assert mark.pop("by").startswith("cli:")
    assert mark == {
        "position": 6,
        "topic": "domain.events:FromTheFuture",
        "fault": "unknown topic domain.events:FromTheFuture",
        "reason": REASON,
    }


@pytest.mark.parametrize("small", [True, False])
def test_a_replay_keeps_what_was_set_aside(
    command: Command,
    stuck: Pool,
    monkeypatch: pytest.MonkeyPatch,
    small: bool,  # noqa: FBT001
) -> None:
    """However it is cut, and a comparison finds no difference."""
    if not small:
        in_small_pieces(monkeypatch, chunk=3, part=4, nearly_there=0)
    command("set-aside", "--workspace", "1", "--position", "6", "--reason", REASON)
    project_all(stuck)
    assert verification.verify(stuck, 1, ignore) == []
    replay.replay(stuck, 1, ignore)
    assert shown(stuck, 1) == reference.campaigns(WITHOUT)
    assert verification.verify(stuck, 1, ignore) == []


@pytest.mark.parametrize("small", [True, False])
def test_undo_takes_the_event_back_in_once_it_can_be_folded(
    command: Command,
    stuck: Pool,
    monkeypatch: pytest.MonkeyPatch,
    small: bool,  # noqa: FBT001
) -> None:
    """Before, nothing changes: the mark stays, and so do the numbers."""
    if not small:
        in_small_pieces(monkeypatch, chunk=3, part=4, nearly_there=0)
    undo = ("set-aside", "--workspace", "1", "--position", "6", "--undo")
    assert command(*undo) == (1, "", "position 6 of workspace 1 is not set aside\n")
    command("set-aside", "--workspace", "1", "--position", "6", "--reason", REASON)
    project_all(stuck)
    code, _, err = command(*undo)
    assert code == 1
    assert err.startswith("the numbers were not changed: position 6: unknown topic")
    assert shown(stuck, 1) == reference.campaigns(WITHOUT)
    assert json.loads(command("status", "--json").out)["workspaces"][0]["set_aside"]
    execute(stuck, "UPDATE stored_events SET topic = 'domain.events:EmailSent'")
    assert command(*undo) == (0, "", "workspace 1 includes position 6 again\n")
    assert shown(stuck, 1) == reference.campaigns(EVENTS)
    assert progress(stuck, 1) == (10, 10, None)
    assert json.loads(command("status", "--json").out)["workspaces"][0]["set_aside"] == []
    assert verification.verify(stuck, 1, ignore) == []


def test_only_what_cannot_be_folded_is_set_aside(command: Command, stuck: Pool) -> None:
    """An operator can't make a number wrong by a slip of the finger."""
    for position, why in (
        (5, "position 5 of workspace 1 can be folded"),
        (11, "workspace 1 has no event at position 11"),
    ):
        code, _, err = command("set-aside", "--workspace", "1", "--position", str(position), "--reason", REASON)
        assert (code, err.count("\n")) == (1, 1)
        assert why in err
    command("set-aside", "--workspace", "1", "--position", "6", "--reason", REASON)
    code, _, err = command("set-aside", "--workspace", "1", "--position", "6", "--reason", "again")
    assert (code, "is set aside already" in err) == (1, True)
    assert command("set-aside", "--workspace", "1", "--position", "6", "--reason", " ").code == 2
    project_all(stuck)
    assert shown(stuck, 1) == reference.campaigns(WITHOUT)


def test_a_replay_during_which_something_is_set_aside_gives_up(stuck: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its rows would hold what the mark says they don't."""
    in_small_pieces(monkeypatch, chunk=3, part=4, nearly_there=0)
    execute(stuck, "UPDATE stored_events SET topic = 'domain.events:EmailSent'")
    mark = "INSERT INTO set_aside VALUES (1, 6, '', '', '', now(), '') ON CONFLICT DO NOTHING"
    with pytest.raises(generations.SupersededError):
        replay.replay(stuck, 1, lambda _: execute(stuck, mark))
    with pytest.raises(generations.SupersededError):
        verification.verify(stuck, 1, lambda _: execute(stuck, "DELETE FROM set_aside"))


def test_an_event_that_was_damaged_once_it_had_been_folded_is_taken_out_by_a_replay(
    command: Command, pool: Pool
) -> None:
    """Else live and replayed numbers would differ."""
    record(pool, 1, *EVENTS)
    project_all(pool)
    spoil(pool, 6, "state")
    assert command("set-aside", "--workspace", "1", "--position", "6", "--reason", REASON).code == 0
    assert shown(pool, 1) == reference.campaigns(WITHOUT)
    assert verification.verify(pool, 1, ignore) == []


def test_the_first_process_can_read_the_messages_of_a_worker() -> None:
    """Errors travel between processes."""
    for error in (generations.SupersededError(), FoldError(7, "why")):
        travelled = pickle.loads(pickle.dumps(error))
        assert (type(travelled), str(travelled)) == (type(error), str(error))
