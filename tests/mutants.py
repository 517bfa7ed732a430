"""
The check of the suite itself: what it must not miss is broken, one thing at a time.

Each mutant is the package with one text replaced, and the few tests that should see it. One that
survives them is a promise nobody keeps an eye on. The package is copied and the copy put first on
the path, so that programs and collectors started by tests run it, too.

    python tests/mutants.py [words of the mutants wanted ...]
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "src" / "asyncops"

SECONDS = 90
"""How long the tests of one mutant may take; one that makes them hang is caught, too."""

WORKERS = 2


@attrs.frozen
class Mutant:
    """
    Attributes:
        what: What is taken out, in words.
        file: Where, below the package.
        old: The text that is replaced; it must be there once.
        new: What by.
        tests: Which tests should notice.
    """

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self) -> str:
        text = (PACKAGE / self.file).read_text()
        if text.count(self.old) != 1:
            raise LookupError(f"{text.count(self.old)} times in {self.file}: {self.old!r}")
        return text.replace(self.old, self.new)


JOURNAL = "tests/test_journal.py"
FAULTS = "tests/faults/test_journal_faults.py"
EXPORTER = "tests/test_exporter.py"
PROCESSES = "tests/test_processes.py"
FORKS = "tests/faults/test_faults_processes.py"
ENDINGS = "tests/faults/test_endings.py::test_ending"
STORE = "tests/collector/test_store.py"
REPRICE = "tests/collector/test_reprice.py"
INGEST = "tests/collector/test_ingest.py"
WIRE = "tests/test_wire.py"
CALLS = "tests/capture/test_calls.py"
INSTRUMENTATION = "tests/capture/test_instrumentation.py"
BUDGETS = "tests/test_budgets.py"

MUTANTS = [
    # -- the journal
    Mutant(
        "checksum of a frame",
        "_frames.py",
        "    if crc != crc32(line, crc32(data[at : at + _HEAD.size])):\n",
        "    if crc < 0:\n",
        (f"{JOURNAL}::test_any_flipped_byte",),
    ),
    Mutant(
        "truncation after a short write",
        "_file_journal.py",
        "    os.ftruncate(fd, end - written)\n",
        "",
        (f"{JOURNAL}::test_full_disk_keeps_no_half_frame",),
    ),
    Mutant(
        "a write per record (ten are gathered)",
        "_file_journal.py",
        "        written = os.write(self._fd, data)\n        if written != len(data):\n",
        "        self._gathered = [*getattr(self, '_gathered', ()), data]\n"
        "        written = 0\n"
        "        if len(self._gathered) == 10:\n"
        "            written = os.write(self._fd, b''.join(self._gathered))\n"
        "            self._gathered = []\n"
        "        if False:\n",
        (f"{PROCESSES}::test_kill_9[no collector]",),
    ),
    Mutant(
        "acknowledged is marked before segments are deleted",
        "_file_journal.py",
        "            if self._marks is not None:\n                self._marks.acknowledged(seq)\n",
        "            delete_acknowledged(self.directory, seq)\n"
        "            if self._marks is not None:\n                self._marks.acknowledged(seq)\n",
        (f"{FAULTS}::test_killed_at_any_call",),
    ),
    Mutant(
        "re-entrant lock",
        "_journal.py",
        "        self._lock = lock or threading.RLock()\n",
        "        self._lock = lock or threading.Lock()\n",
        (f"{JOURNAL}::test_append_from_a_finalizer",),
    ),
    Mutant(
        "what is recorded from inside recording waits its turn",
        "_journal.py",
        "            if self._writing:\n                self._deferred.append((line, flags))\n",
        "            if self._writing:\n                pass\n",
        (f"{JOURNAL}::test_append_from_a_signal_handler",),
    ),
    Mutant(
        "an interrupt leaves recording possible",
        "_journal.py",
        "                        pass\n            finally:\n",
        "                        pass\n"
        "            except Exception:\n                raise\n            else:\n",
        (f"{FAULTS}::test_interrupted_anywhere",),
    ),
    Mutant(
        "an interrupt leaves delivery possible",
        "_file_journal.py",
        "            with contextlib.suppress(RuntimeError):\n"
        "                self._reading.release()\n",
        "            pass\n",
        (f"{FAULTS}::test_interrupted_anywhere", f"{JOURNAL}::test_reader_and_writer_at_once"),
    ),
    Mutant(
        "a number is spent before it is used",
        "_journal.py",
        "        seq = self._seq = self._seq + 1\n        try:\n"
        "            self._keep(_NUMBERED_LINE % (seq, line[1:]), seq, flags)\n",
        "        seq = self._seq + 1\n        try:\n"
        "            self._keep(_NUMBERED_LINE % (seq, line[1:]), seq, flags)\n"
        "            self._seq = seq\n",
        (f"{FAULTS}::test_interrupted_anywhere",),
    ),
    Mutant(
        "a record that found no room on the stack is kept later",
        "_journal.py",
        "                elif not self._number(line, flags):\n"
        "                    self._deferred.appendleft((line, flags))\n",
        "                else:\n                    self._number(line, flags)\n",
        ("tests/faults/test_loops.py::test_deep_in_recursion",),
    ),
    Mutant(
        "a record that waits is not gone before it is kept",
        "_journal.py",
        "            line, flags = self._deferred[0]\n",
        "            line, flags = self._deferred.popleft()\n"
        "            self._deferred.appendleft((line, flags))\n",
        (f"{FAULTS}::test_interrupted_while_others_wait",),
    ),
    Mutant(
        "a record that comes late is not gone before it is kept",
        "_client.py",
        "                    late = self._late[0]\n",
        "                    late = self._late.popleft()\n"
        "                    self._late.appendleft(late)\n",
        (f"{FAULTS}::test_interrupted_while_catching_up",),
    ),
    Mutant(
        "a record that did not get to the journal is kept later",
        "_client.py",
        "            self._late.append((record, expendable, final))\n",
        "            pass\n",
        ("tests/faults/test_loops.py::test_deep_in_recursion",),
    ),
    Mutant(
        "the last segment is never deleted",
        "_directory.py",
        "        for name, following in itertools.pairwise(segment_names(directory)):\n"
        '            if int(following.removesuffix(".seg")) > seq + 1:\n'
        "                break\n",
        "        for name in segment_names(directory):\n"
        '            if int(name.removesuffix(".seg")) > seq:\n'
        "                break\n",
        (f"{JOURNAL}::test_segments_roll_and_go", f"{FAULTS}::test_killed_at_any_call"),
    ),
    Mutant(
        "what is in memory comes after what is on the disk",
        "_file_journal.py",
        "                if self._segments:  # what is in memory comes after what is there\n"
        "                    raise\n",
        "",
        (f"{FAULTS}::test_any_call_fails",),
    ),
    Mutant(
        "numbers given in memory are marked",
        "_file_journal.py",
        "        if self._marks is not None:\n            self._marks.numbered(seq)\n",
        "",
        (f"{JOURNAL}::test_what_died_in_memory_is_counted",),
    ),
    Mutant(
        "numbers given before the directory was made are marked",
        "_file_journal.py",
        "            marks.begin(self._acknowledged, self._ring.last)\n",
        "            marks.begin(self._acknowledged, 0)\n",
        (f"{JOURNAL}::test_what_died_in_memory_without_a_directory_is_counted",),
    ),
    Mutant(
        "the count of a lost run in a segment",
        "_frames.py",
        "        line = lost_line(last.seq, run, reason, last=last.line)\n"
        "        parts.append(frame(line, last.seq, LOST))\n",
        "        line = lost_line(last.seq, 1, reason, last=last.line)\n"
        "        parts.append(frame(line, last.seq, LOST))\n",
        (f"{JOURNAL}::test_disk_is_bounded",),
    ),
    Mutant(
        "the count of a lost run in memory",
        "_journal.py",
        "        line = lost_line(last.seq, count, reason, last=last.line)\n",
        "        line = lost_line(last.seq, 1, reason, last=last.line)\n",
        (f"{JOURNAL}::test_memory_is_bounded_while_the_disk_is_full",),
    ),
    Mutant(
        "endings are not dropped",
        "_frames.py",
        "        dropped = bool(found.flags & EXPENDABLE) and found.seq > max(kept, settled)\n",
        "        dropped = found.seq > max(kept, settled)\n",
        (f"{JOURNAL}::test_disk_is_bounded",),
    ),
    Mutant(
        "what is on its way is not dropped",
        "_frames.py",
        "        dropped = bool(found.flags & EXPENDABLE) and found.seq > max(kept, settled)\n",
        "        dropped = bool(found.flags & EXPENDABLE)\n",
        (f"{JOURNAL}::test_what_is_on_its_way_is_not_dropped",),
    ),
    Mutant(
        "the limit counts all journals",
        "_limit.py",
        "            freed = _compact_dead(directory, excess, done)\n",
        "            freed = 0\n",
        (f"{JOURNAL}::test_the_dead_give_way_first",),
    ),
    Mutant(
        "the reserve is given up for an ending",
        "_file_journal.py",
        "            if not flags & EXPENDABLE and self._give_up_reserve():\n",
        "            if False:\n",
        (f"{JOURNAL}::test_reserve_makes_room_for_an_ending",),
    ),
    Mutant(
        "a directory that was removed is made anew",
        "_file_journal.py",
        "            if not self._is_whole():\n",
        "            if self._fd < 0:\n",
        (f"{JOURNAL}::test_directory_removed",),
    ),
    Mutant(
        "files for this user alone",
        "_directory.py",
        "O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600\n",
        "O_NOFOLLOW | os.O_CLOEXEC | flags, 0o644\n",
        (f"{JOURNAL}::test_for_this_user_alone",),
    ),
    Mutant(
        "the checksum of what is open",
        "_directory.py",
        '        if crc != b"%08x" % zlib.crc32(text):\n            continue\n',
        "",
        ("tests/faults/test_journal_damage.py",),
    ),
    Mutant(
        "the checksum of the marks",
        "_directory.py",
        "            if int(crc, 16) == zlib.crc32(text):\n",
        "            if int(crc, 16) >= 0:\n",
        ("tests/faults/test_journal_damage.py",),
    ),
    # -- adoption
    Mutant(
        "the lock decides who adopts",
        "_directory.py",
        "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        (f"{JOURNAL}::test_live_journal_is_not_adopted",),
    ),
    Mutant(
        "a lock whose file is gone is no lock",
        "_directory.py",
        "        if os.path.samestat(os.fstat(fd), os.stat(path)):\n            return fd\n",
        "        return fd\n",
        (f"{JOURNAL}::test_lock_of_a_journal_that_is_gone",),
    ),
    Mutant(
        "the last records come whole or not at all",
        "_adoption.py",
        "        hidden.rename(self.directory / segment_name(first))\n",
        "        (self.directory / segment_name(first)).write_bytes(data[:-9])\n"
        "        hidden.rename(self.directory / segment_name(first))\n",
        (f"{FAULTS}::test_adopter_killed_at_any_call",),
    ),
    Mutant(
        "an ending is said once",
        "_recovery.py",
        "            if not journal.finished:\n",
        "            if True:\n",
        (f"{FAULTS}::test_adopter_killed_at_any_call",),
    ),
    Mutant(
        "what was only in memory is told",
        "_adoption.py",
        "        self.unwritten = max(numbered - self.last_seq, 0)\n",
        "        self.unwritten = 0\n",
        (f"{JOURNAL}::test_what_died_in_memory_is_counted",),
    ),
    Mutant(
        "the lock goes last",
        "_directory.py",
        '        for name in sorted(os.listdir(directory), key="lock".__eq__):\n',
        '        for name in sorted(os.listdir(directory), key="lock".__ne__):\n',
        (f"{FAULTS}::test_adopter_killed_at_any_call",),
    ),
    Mutant(
        "the signal that killed it",
        "_recovery.py",
        "    return (EndState.CANCELLED if signal in CANCELLING else EndState.FAIL), signal\n",
        '    return EndState.INDETERMINATE, "process died"\n',
        ("tests/faults/test_endings.py::test_ending[SIGTERM - async with - asyncio]",),
    ),
    Mutant(
        "a signal that was outlived is no cause of death",
        "_signals.py",
        "                os.ftruncate(file.fd, 0)\n",
        "                pass\n",
        ("tests/faults/test_signals.py::test_a_signal_that_is_survived_is_no_cause_of_death",),
    ),
    # -- fork
    Mutant(
        "the fork reset",
        "_client.py",
        "os.register_at_fork(after_in_child=_after_fork)\n",
        "",
        (f"{FORKS}::test_a_forked_child_ends",),
    ),
    Mutant(
        "a child lets go of its parent's journal",
        "_client.py",
        "            journal.abandon()\n",
        "            pass\n",
        (f"{FORKS}::test_who_outlives_whom",),
    ),
    Mutant(
        "a child starts with an empty slot",
        "_active.py",
        "    _slot = None\n\n\nos.register_at_fork",
        "\n\nos.register_at_fork",
        (f"{FORKS}::test_a_forked_child_begins_a_session_of_its_own",),
    ),
    # -- delivery
    Mutant(
        "Retry-After",
        "_exporter.py",
        "        wait = max(asked or 0.0, pause) + jitter\n",
        "        wait = pause + jitter\n",
        (f"{EXPORTER}::test_retry_after",),
    ),
    Mutant(
        "what is not acknowledged is sent again",
        "_exporter.py",
        "        done = sum(number <= answer.acknowledged for number in chunk.numbers)\n",
        "        done = len(chunk.numbers)\n",
        (f"{EXPORTER}::test_partial_acknowledgement",),
    ),
    Mutant(
        "nothing is deleted before it is acknowledged",
        "_exporter.py",
        "        self._asked_at = self._asked_at or time.monotonic()\n        try:\n",
        "        self._asked_at = self._asked_at or time.monotonic()\n"
        "        journal.acknowledge(chunk.last)\n        try:\n",
        (f"{EXPORTER}::test_flush_gives_up_in_time",),
    ),
    Mutant(
        "too large a batch is halved",
        "_exporter.py",
        "_BAD_CONTENT = (400, 413, 422)\n",
        "_BAD_CONTENT = (400, 422)\n",
        (f"{EXPORTER}::test_too_large_batch_is_halved",),
    ),
    Mutant(
        "a refused record is set aside",
        "_exporter.py",
        "            journal.set_aside(line, rejected.error)\n",
        "            pass\n",
        (f"{EXPORTER}::test_bad_record_is_found_and_set_aside",),
    ),
    Mutant(
        "who refuses everything is no judge of records",
        "_exporter.py",
        "        if not await self._alive(journal.source):\n",
        "        if False:\n",
        (f"{EXPORTER}::test_collector_that_refuses_everything_costs_nothing",),
    ),
    Mutant(
        "an adopted journal that could not be sent stays",
        "_exporter.py",
        "                if self._failures or self._closing:\n                    return False\n",
        "                if self._failures or self._closing:\n                    return True\n",
        (f"{EXPORTER}::test_adoption_that_fails_leaves_the_journal",),
    ),
    Mutant(
        "the heartbeat",
        "_exporter.py",
        "        if self._busy() and now - self._heard_at >= HEARTBEAT_SECONDS",
        "        if False and now - self._heard_at >= HEARTBEAT_SECONDS",
        (f"{EXPORTER}::test_heartbeat",),
    ),
    Mutant(
        "an exit does not wait for one that does not answer",
        "_exporter.py",
        "            if not self.answered and (self.tried or now >= undecided):\n"
        "                return\n",
        "",
        (f"{EXPORTER}::test_exit_does_not_wait_for_one_that_does_not",),
    ),
    Mutant(
        "an exit waits for one that answers",
        "_exporter.py",
        "            if not self.answered and (self.tried or now >= undecided):\n",
        "            if self.tried or now >= undecided:\n",
        (f"{EXPORTER}::test_exit_waits_for_a_collector_that_answers",),
    ),
    Mutant(
        "a batch is sent until it is taken",
        "_exporter.py",
        "            self._held = rest\n",
        "            self._held = None\n",
        (f"{EXPORTER}::test_tries_again",),
    ),
    # -- what is recorded
    Mutant(
        "secrets are taken out by name",
        "_wire.py",
        "            if is_secret_name(name) and",
        "            if False and",
        (f"{WIRE}::test_secret_names",),
    ),
    Mutant(
        "secrets are taken out by shape",
        "_redaction.py",
        "    for at, shape in sorted(places):\n",
        "    for at, shape in ():\n",
        (f"{WIRE}::test_secret_shapes",),
    ),
    Mutant(
        "the names of arguments are looked at",
        "_spans.py",
        "        if not any(map(is_secret_name, names)):\n",
        "        if True:\n",
        ("tests/test_spans.py::test_secrets_in_arguments",),
    ),
    Mutant(
        "keywords that nobody declared are looked at",
        "_spans.py",
        "            if values.keys() <= self._names:\n",
        "            if self._names:\n",
        ("tests/test_spans.py::test_secrets_in_arguments",),
    ),
    Mutant(
        "the quick look goes far enough back for the word before a key",
        "_redaction.py",
        "        if look.before_key(before) or (begin and look.cut_off(before)):\n",
        "        if look.before_key(before):\n",
        (f"{WIRE}::test_key_far_from_the_word_before_it",),
    ),
    Mutant(
        "whoever reads a journal is woken",
        "_journal.py",
        "        if self._seq >= self._wake_at:\n",
        "        if False:\n",
        (f"{JOURNAL}::test_wakes_once_when_asked",),
    ),
    Mutant(
        "the quick way is for what is harmless",
        "_wire.py",
        "                if len(data) <= self._plain_bytes and _is_harmless(data):\n",
        "                if len(data) <= self._plain_bytes:\n",
        (f"{WIRE}::test_secret_names",),
    ),
    Mutant(
        "cycles end",
        "_wire.py",
        "        if id(value) in self._above:\n",
        "        if False:\n",
        (f"{WIRE}::test_cycle",),
    ),
    Mutant(
        "a record is bounded",
        "_wire.py",
        "    return line if len(line) <= MAX_RECORD_BYTES else _shrunk(record)\n",
        "    return line\n",
        (f"{WIRE}::test_long_record_is_cut",),
    ),
    # -- endings
    Mutant(
        "a cancellation is no failure",
        "_endings.py",
        "_CALLED_OFF = (asyncio.CancelledError, BudgetStop, GeneratorExit, KeyboardInterrupt)\n",
        "_CALLED_OFF = (BudgetStop, GeneratorExit, KeyboardInterrupt)\n",
        ("tests/test_session.py",),
    ),
    Mutant(
        "one real error in a group is a failure",
        "_endings.py",
        "    if all(isinstance(leaf, _CALLED_OFF) or _is_clean_exit(leaf) for leaf in leaves):\n",
        "    if any(isinstance(leaf, _CALLED_OFF) or _is_clean_exit(leaf) for leaf in leaves):\n",
        ("tests/test_session.py",),
    ),
    Mutant(
        "what an uncaught exception ended",
        "_client.py",
        '    return getattr(sys, "last_value", None)\n',
        "    return None\n",
        ("tests/faults/test_endings.py::test_ending[exception - init() - asyncio]",),
    ),
    # -- the collector
    Mutant(
        "committed before it is acknowledged",
        "collector/store/sqlite.py",
        "                self._settle(batches, self._add_group(batches))\n",
        "                said = [\n"
        "                    Outcome(acknowledged=job.what.records[-1].seq, stored=1, changed=())\n"
        "                    for job in batches\n"
        "                ]\n"
        "                self._settle(batches, said)\n"
        "                self._add_group(batches)\n",
        (f"{INGEST}::test_puts_off_what_a_locked_database_cannot_take",),
    ),
    Mutant(
        "committed is on the disk",
        "collector/store/sqlite_schema.py",
        '"PRAGMA synchronous = FULL")',
        '"PRAGMA synchronous = OFF")',
        ("tests/collector/test_sqlite.py",),
    ),
    Mutant(
        "the high-water mark",
        "collector/store/sqlite_writer.py",
        "            if seq <= source.mark:\n",
        "            if False:\n",
        (f"{STORE}::test_stores_a_record_once",),
    ),
    Mutant(
        "holes are counted",
        "collector/store/sqlite_writer.py",
        "            unexplained = seq - source.mark - 1\n",
        "            unexplained = 0\n",
        (f"{STORE}::test_counts_a_hole_for_the_session_that_follows",),
    ),
    Mutant(
        "the lease",
        "collector/store/base.py",
        "LEASE_SECONDS = 30.0\n",
        "LEASE_SECONDS = 3_000_000.0\n",
        (f"{STORE}::test_a_silent_session_is_indeterminate",),
    ),
    Mutant(
        "the user outranks the process",
        "collector/store/fold.py",
        "end is None or _RANKS[record.said_by] < _RANKS[end.said_by]",
        "end is None",
        (f"{STORE}::test_the_user_outranks_the_process_and_the_process_its_adopter",),
    ),
    Mutant(
        "the first end of a rank stays",
        "collector/store/fold.py",
        "_RANKS[record.said_by] < _RANKS[end.said_by]",
        "_RANKS[record.said_by] <= _RANKS[end.said_by]",
        (f"{STORE}::test_the_first_end_of_a_rank_stays",),
    ),
    Mutant(
        "sums of days take back what changed",
        "collector/store/sqlite_writer.py",
        "        if session.counted is not None:\n",
        "        if False:\n",
        (f"{STORE}::test_sums_follow_what_is_learned_late",),
    ),
    Mutant(
        "ids are looked at when many are decoded",
        "_wire.py",
        "    if not _HEX.fullmatch",
        "    if False and not _HEX.fullmatch",
        ("tests/test_codec.py", "tests/test_wire.py"),
    ),
    Mutant(
        "what is left for a later step is searched",
        "collector/store/sqlite_texts.py",
        "                    done = key & NUMBERS\n",
        "                    done = last\n",
        ("tests/collector/test_search.py::test_what_was_left_is_searchable_later",),
    ),
    Mutant(
        "a body is bounded while it is inflated",
        "collector/ingest/records.py",
        "        inflated = member.decompress(data, limit + 1)\n",
        "        inflated = member.decompress(data)\n",
        (f"{INGEST}::test_refuses_a_bomb",),
    ),
    Mutant(
        "a bad line spares the others",
        "collector/ingest/records.py",
        "        except DecodeError as error:\n            rejected.append",
        "        except DecodeError as error:\n            records.clear()\n"
        "            rejected.append",
        (f"{INGEST}::test_bad_lines_are_told_and_spare_the_others",),
    ),
    # -- budgets
    Mutant(
        "budget: a failed call is taken back",
        "_budgets.py",
        "                        self._llm_calls -= 1\n",
        "                        pass\n",
        (f"{BUDGETS}::test_failed_attempts_do_not_count",),
    ),
    Mutant(
        "budget: a call that ends beyond it stops",
        "_budgets.py",
        "            self._exceed(over)\n",
        "            pass\n",
        (f"{BUDGETS}::test_one_that_ends_normally_beyond_the_limit",),
    ),
    Mutant(
        "budget: our cancellations are taken back",
        "_budgets.py",
        "            task.uncancel()\n        late",
        "            pass\n        late",
        (f"{BUDGETS}::test_the_call_beyond_is_never_sent",),
    ),
    Mutant(
        "budget: one not delivered stays in the block",
        "_budgets.py",
        "                await asyncio.sleep(0)\n            except",
        "                pass\n            except",
        (f"{BUDGETS}::test_whatever_comes_together",),
    ),
    Mutant(
        "budget: whoever else cancels goes first",
        "_budgets.py",
        "        if task.cancelling() > self._cancelling:",
        "        if task is None:",
        (f"{BUDGETS}::test_cancelled_from_outside_at_the_same_time",),
    ),
    Mutant(
        "budget: theirs comes after an error",
        "_budgets.py",
        "                task.cancel(*late.args)\n                task.uncancel()\n",
        "                pass\n",
        (f"{BUDGETS}::test_cancelled_from_outside_while_an_error_leaves",),
    ),
    Mutant(
        "budget: what the program got over is over",
        "_budgets.py",
        "            self._cancelling = task.cancelling()\n",
        "            pass\n",
        (f"{BUDGETS}::test_what_the_program_got_over",),
    ),
    Mutant(
        "budget: a task left behind is cancelled",
        "_budgets.py",
        "        self._cancel(calling)\n        return False\n",
        "        return False\n",
        (f"{BUDGETS}::test_a_task_left_behind",),
    ),
    Mutant(
        "budget: no timer is left",
        "_budgets.py",
        "            timer.cancel()\n",
        "            pass\n",
        (f"{BUDGETS}::test_no_timer_is_left",),
    ),
    Mutant(
        "budget: what it refuses is not sent",
        "capture/_transports.py",
        "            attempt.admit()\n",
        "",
        ("tests/capture/test_budgets_of_calls.py::test_the_call_beyond_is_never_sent",),
    ),
    Mutant(
        "budget: a forked child is not counted",
        "_client.py",
        "            active.budget = None  # the parent's, as the block is\n",
        "",
        (f"{BUDGETS}::test_a_forked_child",),
    ),
    # -- capture of LLM calls
    Mutant(
        "capture: an answer closed early is called off",
        "capture/_calls.py",
        '            self._end(asyncio.CancelledError("the answer was closed before its end"))\n',
        "            self._end(None)\n",
        (f"{CALLS}::test_a_stream_that_is_abandoned",),
    ),
    Mutant(
        "capture: a stream read to its last event is whole",
        "capture/_calls.py",
        "        return self._done or (self._assembly is not None and self._assembly.complete)\n",
        "        return False\n",
        (f"{CALLS}::test_a_stream_read_to_its_last_event_only",),
    ),
    Mutant(
        "capture: a stream is over when it says so",
        "capture/_calls.py",
        "        if self._done or assembly.over:\n",
        "        if False:\n",
        (f"{CALLS}::test_a_stream_kept_open_after_its_last_event",),
    ),
    Mutant(
        "capture: a stream that failed was not closed early",
        "capture/_calls.py",
        " or self._is_complete() or self._error():\n",
        " or self._is_complete():\n",
        (f"{CALLS}::test_a_stream_that_says_it_failed",),
    ),
    Mutant(
        "capture: the first token, not the first byte",
        "capture/_calls.py",
        "                if assembly.has_token:\n",
        "                if assembly is not None:\n",
        (f"{CALLS}::test_time_to_the_first_token_not_to_the_first_byte",),
    ),
    Mutant(
        "capture: what the vendor refuses has failed",
        "capture/_calls.py",
        "                failure = self._refusal()\n",
        "                self._refusal()\n",
        (f"{CALLS}::test_a_refusal",),
    ),
    Mutant(
        "capture: attempts are counted",
        "capture/_calls.py",
        "            _failed.failed(self._retry_key, self._failures + 1)\n",
        "            pass\n",
        (f"{CALLS}::test_a_refusal",),
    ),
    Mutant(
        "capture: a success is no attempt of the next call",
        "capture/_calls.py",
        "            _failed.succeeded(self._retry_key)\n",
        "",
        (f"{CALLS}::test_a_refusal",),
    ),
    Mutant(
        "capture: a block written by hand is the call",
        "capture/_calls.py",
        "                block.told_by(span)\n                return\n",
        "                block.told_by(span)\n",
        (f"{CALLS}::test_a_block_written_by_hand_is_filled_in",),
    ),
    Mutant(
        "capture: a block tells of one call only",
        "capture/_calls.py",
        "            around.captured = True\n",
        "",
        (f"{CALLS}::test_a_decorated_call_is_filled_in_and_a_second_one_told",),
    ),
    Mutant(
        "capture: an answer that is dropped is told of",
        "capture/_transports.py",
        "                self._stream.close()\n            finally:\n"
        "                self._attempt.closed()\n\n        def __del__(self) -> None:",
        "                self._stream.close()\n            finally:\n"
        "                self._attempt.closed()\n\n        def deleted(self) -> None:",
        (f"{CALLS}::test_an_answer_that_is_dropped",),
    ),
    Mutant(
        "capture: nothing is recorded when the interpreter ends",
        "capture/_calls.py",
        "        if self._over or is_finalizing():\n",
        "        if self._over:\n",
        (f"{INSTRUMENTATION}::test_an_answer_that_is_open_at_exit",),
    ),
    Mutant(
        "capture: an answer that is there at once",
        "capture/_transports.py",
        "    if response.is_closed:\n",
        "    if False:\n",
        (f"{CALLS}::test_an_answer_that_is_there_at_once",),
    ),
    Mutant(
        "capture: once, where transports of ours are nested",
        "capture/_transports.py",
        "    if active is None or _seen.get() is request:\n",
        "    if active is None:\n",
        (f"{CALLS}::test_one_client_alone",),
    ),
    Mutant(
        "capture: nothing said is kept among the params",
        "capture/_calls.py",
        "            if isinstance(value, bool | int | float) or name in _SAFE_PARAMS\n",
        "            if value or name in _SAFE_PARAMS\n",
        (f"{CALLS}::test_content_that_is_not_to_be_kept",),
    ),
    Mutant(
        "capture: a session that does not want it",
        "_instrumentation.py",
        "            or not (_everywhere or active.client.configuration.instrument_llm_calls)\n",
        "",
        (f"{INSTRUMENTATION}::test_a_session_that_does_not_want_it",),
    ),
    Mutant(
        "capture: taken back",
        "_instrumentation.py",
        "                setattr(client, _METHOD, original)\n",
        "",
        (f"{INSTRUMENTATION}::test_it_is_taken_back_without_a_trace",),
    ),
    Mutant(
        "capture: a package that is imported later",
        "_instrumentation.py",
        "                if _at_work:\n                    _put_into(module)\n",
        "                pass\n",
        (f"{INSTRUMENTATION}::test_a_package_that_is_imported_later",),
    ),
    Mutant(
        "capture: media are not kept",
        "_wire.py",
        "                value = without_media(value)\n",
        "                pass\n",
        ("tests/test_content.py::test_bytes_of_media_on_request",),
    ),
    Mutant(
        "capture: an event cut in the midst of a line",
        "capture/_streams.py",
        '            data = b"".join((*self._rest, data))\n',
        "            pass\n",
        ("tests/capture/test_capture_streams.py",),
    ),
    # -- live
    Mutant(
        "live: what changed before a stream was open is told",
        "collector/streams.py",
        "late = seen is not None and store.changes.last_at(project) > seen\n",
        "late = False\n",
        ("tests/collector/test_streams.py",),
    ),
    Mutant(
        "live: a brief stream looks who fell silent",
        "collector/streams.py",
        "            if changed or given_up or late:\n",
        "            if changed or late:\n",
        ("tests/collector/test_streams.py",),
    ),
    # -- deletion
    Mutant(
        "deletion: what agents spent goes, too",
        "collector/store/sqlite_writer.py",
        '    "session_agents",\n    "session_labels",\n',
        '    "session_labels",\n',
        ("tests/collector/test_deletion.py",),
    ),
    # -- costs
    Mutant(
        "costs: cached tokens are part of the prompt",
        "_prices.py",
        "                prompt -= tokens\n",
        "",
        ("tests/test_prices.py",),
    ),
    Mutant(
        "costs: a tier begins beyond its tokens",
        "_prices.py",
        "                if prompt_tokens > start:\n",
        "                if prompt_tokens >= start:\n",
        ("tests/test_prices.py",),
    ),
    Mutant(
        "costs: the price of the time of the call",
        "_prices.py",
        "            prices = model.get_prices(moment)\n",
        "            prices = prices[-1].prices\n",
        ("tests/test_prices.py",),
    ),
    Mutant(
        "costs: own prices go first",
        "_prices.py",
        "            if tiers is None:\n                if info is None:\n",
        "            if info is not None or tiers is None:\n                if info is None:\n",
        ("tests/test_prices.py",),
    ),
    Mutant(
        "costs: a provider of another name is another",
        "_prices.py",
        "seller for seller in self._providers if seller.id == name",
        "seller for seller in self._providers if seller.id in name",
        ("tests/test_prices.py",),
    ),
    Mutant(
        "costs: what the provider said stays when stored",
        "collector/store/sqlite_writer.py",
        '                    if cost is None and kind == "llm":\n',
        '                    if kind == "llm":\n',
        (STORE,),
    ),
    Mutant(
        "costs: a refused call has none to know",
        "collector/store/sqlite_writer.py",
        "            and not is_refused(record.state, error,",
        '            and not is_refused("", error,',
        (STORE,),
    ),
    Mutant(
        "costs: what the provider said stays when priced anew",
        "collector/store/sqlite_repricing.py",
        'before.source != "computed" or ',
        "",
        (REPRICE,),
    ),
    Mutant(
        "costs: a cost whose price is gone stays",
        "collector/store/sqlite_repricing.py",
        "    if after is None or (before",
        "    if (before",
        (REPRICE,),
    ),
    Mutant(
        "costs: what was counted is taken back",
        "collector/store/sqlite_writer.py",
        "        self._count_cost(several, change.before, -1)\n",
        "",
        (REPRICE,),
    ),
    Mutant(
        "costs: a repricing reaches what its agent spent",
        "collector/store/sqlite_writer.py",
        "            _spent_of(change.agent, self.spent_by),\n",
        "",
        (REPRICE,),
    ),
    Mutant(
        "costs: each change is made once",
        "collector/store/sqlite_writer.py",
        "        if row is None or row[0] != change.stored:\n",
        "        if row is None:\n",
        (REPRICE,),
    ),
    Mutant(
        "costs: nobody elsewhere asks for a repricing",
        "collector/api.py",
        '.strip() != "application/json":\n',
        '.strip() == "":\n',
        (REPRICE,),
    ),
    Mutant(
        "costs: tool calls of another session are another's",
        "collector/store/sqlite_reader.py",
        '            " WHERE t.session = ? AND t.id IN',
        '            " WHERE t.session >= ? AND t.id IN',
        (STORE,),
    ),
    Mutant(
        "costs: a parameter says which tool call it is",
        "_spans.py",
        '    if span.kind == "tool" and _takes_call_id(function):\n',
        "    if False:\n",
        ("tests/test_spans.py",),
    ),
    # -- dialects
    Mutant(
        "dialect: a body is looked at only where a path may be one",
        "capture/_registry.py",
        "    return path.endswith(_ends)\n",
        "    return True\n",
        ("tests/capture/test_registry.py",),
    ),
    Mutant(
        "dialect: a user's own is asked first",
        "capture/_registry.py",
        "    for dialect in (*_registered, *_OURS):\n",
        "    for dialect in (*_OURS, *_registered):\n",
        ("tests/capture/test_registry.py",),
    ),
    Mutant(
        "dialect: one that raises does not match",
        "capture/_registry.py",
        "            continue\n",
        "            raise\n",
        ("tests/capture/test_registry.py",),
    ),
    Mutant(
        "dialect: pieces of a text make the text",
        "capture/_fragments.py",
        "        held.write(value)\n",
        "        pass\n",
        ("tests/capture/test_openai_chat.py",),
    ),
    Mutant(
        "dialect: calls with one number and two ids are two",
        "capture/_fragments.py",
        'item if item["id"] == fragment["id"] else None',
        "item",
        ("tests/capture/test_openai_chat.py",),
    ),
    Mutant(
        "dialect: what came is not changed by reading it",
        "capture/_fragments.py",
        "            if not isinstance(held, Whole):\n",
        "            if False:\n",
        ("tests/capture/test_openai_chat.py",),
    ),
    Mutant(
        "dialect: a count is none unless it is a number",
        "capture/_bodies.py",
        "isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT",
        "value is not None",
        ("tests/capture/test_openai_chat.py", "tests/capture/test_ollama.py"),
    ),
    Mutant(
        "dialect: xAI's reasoning is part of what came out",
        "capture/_openai_usage.py",
        "            completion += reasoning  # and xAI\n",
        "            pass\n",
        ("tests/capture/test_openai_chat.py",),
    ),
    Mutant(
        "dialect: Anthropic's cache is part of what went in",
        "capture/anthropic_messages.py",
        "added(fresh, cached, written)",
        "fresh",
        ("tests/capture/test_anthropic_messages.py",),
    ),
    Mutant(
        "dialect: Anthropic's placeholder is no count",
        "capture/anthropic_messages.py",
        '            counts["completion_tokens"] = None\n',
        "            pass\n",
        ("tests/capture/test_anthropic_messages.py",),
    ),
    Mutant(
        "dialect: Gemini's thoughts are part of what came out",
        "capture/google_generate.py",
        'added(count(usage.get("candidatesTokenCount")), thoughts)',
        'count(usage.get("candidatesTokenCount"))',
        ("tests/capture/test_google_generate.py",),
    ),
    Mutant(
        "dialect: Cohere's tokens are those it bills",
        "capture/cohere_chat.py",
        'first(count(billed.get("input_tokens")), count(read.get("input_tokens")))',
        'first(count(read.get("input_tokens")), count(billed.get("input_tokens")))',
        ("tests/capture/test_cohere_chat.py",),
    ),
    Mutant(
        "dialect: vectors are not kept",
        "capture/embeddings.py",
        'return {"embeddings": len(found), ',
        'return found or {"embeddings": len(found), ',
        ("tests/capture/test_embeddings.py",),
    ),
    Mutant(
        "dialect: an answer that says it failed has failed",
        "capture/_calls.py",
        'failure = failure or self._said_to_have_failed(answered.error, "AnswerError")',
        "pass",
        (f"{CALLS}::test_an_answer_that_says_it_failed",),
    ),
    Mutant(
        "dialect: a known address tells the provider",
        "capture/_providers.py",
        "    return _known(host) or dialect.provider\n",
        "    return dialect.provider\n",
        ("tests/capture/test_registry.py",),
    ),
]


@attrs.frozen
class Verdict:
    """
    What became of a mutant.
    """

    mutant: Mutant
    word: str
    seconds: float
    said: str = ""

    @property
    def good(self) -> bool:
        return self.word == "killed"

    def __str__(self) -> str:
        where = self.mutant.tests[0].removeprefix("tests/")
        return f"{self.word:<9}{self.seconds:>6.1f} s  {self.mutant.what:<58}{where}"


def judge(mutant: Mutant) -> Verdict:
    began = time.monotonic()

    def verdict(word: str, said: str = "") -> Verdict:
        return Verdict(mutant, word, time.monotonic() - began, said)

    try:
        text = mutant.applied()
    except (OSError, LookupError) as error:
        return verdict("gone", str(error))
    with tempfile.TemporaryDirectory(prefix="asyncops-mutant-") as directory:
        copied(Path(directory))
        (Path(directory) / "asyncops" / mutant.file).write_text(text)
        try:
            status, said = run(Path(directory), mutant.tests)
        except subprocess.TimeoutExpired:
            return verdict("killed", "it hung")
    # 1: a test failed; anything else says something of the mutant or the table, not of the suite
    return verdict({0: "SURVIVED", 1: "killed"}.get(status, "broken"), said)


def copied(directory: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, directory / "asyncops", ignore=ignored)


def run(path: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """
    Run *tests* over the package in *path*; returns pytest's status and what it said.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    process = subprocess.Popen(
        [*command, "-o", "timeout=20", *tests],
        cwd=HERE.parent,
        env={**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said


def unharmed(mutants: list[Mutant]) -> Verdict:
    """
    The same tests over a copy in which nothing is changed: they must pass, and run that copy.
    """
    nothing = Mutant("nothing: all of these tests pass", "", "", "", ("all",))
    began = time.monotonic()
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    with tempfile.TemporaryDirectory(prefix="asyncops-mutant-") as directory:
        copied(Path(directory))
        command = [sys.executable, "-c", "import asyncops; print(asyncops.__file__)"]
        where = subprocess.check_output(
            command, env={**os.environ, "PYTHONPATH": directory}, cwd=HERE.parent, text=True
        )
        if not where.startswith(directory):
            return Verdict(nothing, "broken", 0, f"tests would run {where}")
        status, said = run(Path(directory), tests)
    word = "killed" if status == 0 else "broken"
    return Verdict(nothing, word, time.monotonic() - began, said)


def main() -> None:
    wanted = [
        mutant
        for mutant in MUTANTS
        if not sys.argv[1:] or any(word in mutant.what for word in sys.argv[1:])
    ]
    first = unharmed(wanted)
    if not first.good:
        print(first.said)
        sys.exit("without any change the tests do not pass")
    print(f"{'passed':<9}{first.seconds:>6.1f} s  without any change", flush=True)
    verdicts = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for verdict in pool.map(judge, wanted):
            verdicts.append(verdict)
            print(verdict, flush=True)
    bad = [verdict for verdict in verdicts if not verdict.good]
    for verdict in bad:
        print(f"\n-- {verdict.word}: {verdict.mutant.what}\n{verdict.said[-1_500:]}")
    print(f"\n{len(verdicts)} mutants, {len(verdicts) - len(bad)} killed")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
