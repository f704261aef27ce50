"""Proposals and verdicts: what a diff changes, and what a guardian's word stands for."""

import difflib
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentineld.proposal import EvolutionProposal, GuardianVerdict, read_diff, severity

ONE_FILE = """\
--- a/src/query.sql
+++ b/src/query.sql
@@ -1,4 +1,4 @@
 select 1;
--- the old comment
+-- the new comment
 select 2;
-select 3;
+select 4;
"""


def changes(diff):
    return read_diff(diff).lines_changed


def files(diff):
    return list(read_diff(diff).files)


def test_added_and_removed_lines_count_and_file_headers_do_not():
    proposal = EvolutionProposal("p1", "goal", ["src/query.sql"], diff_content=ONE_FILE)

    assert proposal.lines_changed == 4


def test_a_given_number_of_lines_is_kept():
    assert EvolutionProposal("p1", "goal", [], diff_content=ONE_FILE, lines_changed=7).lines_changed == 7


def test_a_proposal_without_a_diff_changes_no_lines():
    assert EvolutionProposal("p1", "goal", ["a.py"]).lines_changed == 0


def test_a_removed_and_an_added_line_that_look_like_file_headers_count_inside_a_hunk():
    diff = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n--- x\n+++ y\n@@ -9 +9 @@\n-a\n+b\n"

    assert changes(diff) == 4


def test_a_removed_line_that_begins_with_two_hyphens_counts_outside_of_hunks_too():
    assert changes("--- a/f\n+++ b/f\n--- old\n-older\n+new\n") == 3


def test_lines_count_in_a_diff_without_headers_of_any_kind():
    assert changes("-old\n+new\n+newer") == 3


def test_hunk_headers_without_numbers_are_tolerated():
    assert changes("--- a/f\n+++ b/f\n@@ ... @@\n context\n-old\n+new\n") == 2


def test_every_file_header_of_a_longer_diff_is_left_out_and_named():
    diff = (
        "diff --git a/one b/one\nindex 1..2 100644\n--- a/one\n+++ b/one\n@@ -1,2 +1,2 @@\n-a\n+b\n same\n"
        "diff --git a/two b/two\nnew file mode 100644\n--- /dev/null\n+++ b/two\n@@ -0,0 +1,2 @@\n+a\n+b\n"
        "diff --git a/three b/three\ndeleted file mode 100644\n--- a/three\n+++ /dev/null\n"
        "@@ -1 +0,0 @@\n-a\n\\ No newline at end of file\n"
    )

    assert changes(diff) == 5
    assert files(diff) == ["one", "two", "three"]


def test_changes_without_lines_name_their_files():
    diff = (
        "diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n"
        "diff --git a/old name b/new name\nsimilarity index 100%\nrename from old name\nrename to new name\n"
        "diff --git a/logo.png b/logo.png\nBinary files a/logo.png and b/logo.png differ\n"
    )

    assert changes(diff) == 0
    assert files(diff) == ["run.sh", "old name", "new name", "logo.png"]


def test_time_stamps_quotes_and_carriage_returns_are_no_part_of_a_name():
    diff = '--- "a/f g"\t2026-01-01 00:00\r\n+++ "b/f g"\t2026-01-01 00:01\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n'

    assert changes(diff) == 2
    assert files(diff) == ["f g"]


def test_separator_and_signature_of_a_mailed_patch_are_no_removals():
    diff = "Subject: x\n---\n f | 2 +-\n\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n-- \n2.47.0\n"

    assert changes(diff) == 2


def test_lines_beyond_the_counts_of_a_hunk_still_count():
    assert changes("--- a/f\n+++ b/f\n@@ -1,0 +1,1 @@\n+a\n+b\n-c\n+d\n") == 4


def test_a_file_hidden_behind_too_large_counts_is_named():
    diff = "--- a/f\n+++ b/f\n@@ -1,99 +1,99 @@\n-a\n+b\n--- a/hidden\n+++ b/hidden\n@@ -1 +1 @@\n-a\n+b\n"

    assert files(diff) == ["f", "hidden"]
    assert changes(diff) >= 4


def test_content_that_looks_like_a_file_header_names_no_file_where_the_counts_agree():
    diff = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n--- x\n+++ y\n@@ -9 +9 @@\n-a\n+b\n"

    assert files(diff) == ["f"]


def test_repeating_a_file_header_hides_no_lines():
    assert changes("--- x\n+++ x\n" * 101) == 200


def test_absurd_counts_are_no_reason_to_fail():
    assert changes(f"--- a/f\n+++ b/f\n@@ -{'9' * 5000} +1 @@\n-a\n+b\n") == 2


@st.composite
def diffs(draw):
    """Make a diff with the standard library; return it with the number of lines that it changes."""
    plain, headers = (
        ["", "a", "b", "-", "+", "\\ x", "-- ", "---"],
        ["-- x", "++ y", "--- a/f", "+++ b/f"],
    )
    line = st.sampled_from([*plain, *headers, "@@ -1 +1 @@"])
    old, new = draw(st.lists(line, max_size=12)), draw(st.lists(line, max_size=12))
    text = list(difflib.unified_diff(old, new, "a/f", "b/f", lineterm="", n=draw(st.integers(0, 3))))
    return "\n".join(text), sum(part[:1] in ("+", "-") for part in text[2:])


@given(diffs())
def test_real_diffs_are_counted_exactly_whatever_their_lines_look_like(case):
    diff, expected = case

    assert expected == changes(diff)
    assert files(diff) in ([], ["f"])


@given(st.lists(diffs(), max_size=4))
def test_diffs_of_several_files_are_counted_exactly(cases):
    text = [f"diff --git a/{n} b/{n}\n{diff}" for n, (diff, _) in enumerate(cases)]

    assert changes("\n".join(text)) == sum(expected for _, expected in cases)


@given(st.text(alphabet='+-@ ab/\\\n\r\t019,"', max_size=300))
def test_no_text_is_a_reason_to_fail(text):
    assert 0 <= changes(text) <= text.count("\n") + 1


def test_the_count_agrees_with_git(tmp_path):
    def git(*args):
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *args],
            cwd=tmp_path, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    try:
        git("init", "-q")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    (tmp_path / "a b.sql").write_text("-- one\n-- two\n++ three\nfour\n")
    (tmp_path / "gone").write_text("x\n" * 30)
    (tmp_path / "moved").write_text("y\n" * 30)
    git("add", "-A")
    git("commit", "-qm", "one")
    (tmp_path / "a b.sql").write_text("-- one\n++ zwei\n++ three\nfive\n")
    (tmp_path / "gone").unlink()
    (tmp_path / "moved").rename(tmp_path / "there")
    (tmp_path / "new").write_text("z\n")
    git("add", "-A")
    diff = git("diff", "--cached", "-M")
    stat = [line.split("\t") for line in git("diff", "--cached", "-M", "--numstat").splitlines()]

    assert sum(int(added) + int(removed) for added, removed, _ in stat) == changes(diff)
    assert {"a b.sql", "gone", "moved", "there", "new"} == set(files(diff))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("low", "low"),
        ("Medium", "medium"),
        (" HIGH ", "high"),
        ("critical", "high"),
        ("", "high"),
        (3, "high"),
    ],
)
def test_a_risk_level_that_nobody_knows_is_high(word, expected):
    assert expected == severity(word)


@pytest.mark.parametrize("word", ["high", "HIGH", "critical", "unknown", ""])
def test_high_and_unknown_risk_asks_for_a_human_and_keeps_the_word(word):
    verdict = GuardianVerdict(approved=True, proposal_id="p1", risk_level=word)

    assert verdict.requires_human_review
    assert word == verdict.risk_level


def test_low_and_medium_risk_leave_the_question_of_a_human_as_it_was():
    assert not GuardianVerdict(approved=True, proposal_id="p1", risk_level="medium").requires_human_review
    assert GuardianVerdict(approved=True, proposal_id="p1", requires_human_review=True).requires_human_review


def test_defaults_are_the_documented_ones():
    verdict = GuardianVerdict(approved=True, proposal_id="p1")

    assert (
        verdict.risk_level,
        verdict.confidence,
        verdict.issues_found,
        verdict.recommendations,
        verdict.reviewer,
        verdict.requires_human_review,
        verdict.reasoning,
    ) == ("low", 0.8, [], [], "guardian", False, "")


def test_instants_are_now_in_utc():
    before = datetime.now(UTC)
    proposal, verdict = EvolutionProposal("p1", "goal", []), GuardianVerdict(approved=True, proposal_id="p1")

    for text in (proposal.created_at, verdict.reviewed_at):
        assert text.endswith("Z")
        assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)


def test_proposals_do_not_share_their_metadata():
    first, second = EvolutionProposal("p1", "goal", []), EvolutionProposal("p2", "goal", [])
    first.metadata["key"] = "value"

    assert second.metadata == {}
