"""Splitting of command lines into simple commands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_texts import SHELL_TEXTS

from sentineld import shell
from sentineld.shell import MAX_TEXT, expand_braces, parse


def words(text):
    return [command.words for command in parse(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("ls -la", [["ls", "-la"]]),
        ("a && b || c; d & e\nf", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        ("a 'b c' \"d e\" f\\ g", [["a", "b c", "d e", "f g"]]),
        ("a'b'\"c\"d", [["abcd"]]),
        ("a ''", [["a", ""]]),
        ("echo $'\\x41\\102\\n'", [["echo", "AB\n"]]),
        ("a # b; c\nd", [["a"], ["d"]]),
        ("a#b", [["a#b"]]),
        ("a \\\n b", [["a", "b"]]),
        ("echo $(cat x; ls)", [["cat", "x"], ["ls"], ["echo", "$()"]]),
        ("echo `cat x`", [["cat", "x"], ["echo", "$()"]]),
        ("echo `a \\`b\\``", [["a"], ["b"], ["echo", "$()"]]),
        ('echo "a $(echo "b $(c d)") e"', [["c", "d"], ["echo", "b $()"], ["echo", "a $() e"]]),
        ("diff <(a) >(b)", [["a"], ["b"], ["diff", "$()", "$()"]]),
        ("(a; b) | c", [["a"], ["b"], ["c"]]),
        ("((i > 3)) && a", [["a"]]),
        ("((a) | b)", [["a"], ["b"]]),
        ("echo $((1 + $(a)))", [["a"], ["echo", "$()"]]),
        ("[[ a && b > c ]] && e", [["[[", "a", "&&", "b", ">", "c", "]]"], ["e"]]),
        ("[[ (a || b) ]] && e", [["[[", "(", "a", "||", "b", ")", "]]"], ["e"]]),
        ("if a; then b; else c; fi", [["a"], ["b"], ["c"]]),
        ("while ! a; do b; done", [["a"], ["b"]]),
        ("for x in a b; do c; done", [["for", "x", "in", "a", "b"], ["c"]]),
        ("case $x in a|b) c ;; (d) e ;; *) f; esac; g", [["case", "$x", "in"], ["c"], ["e"], ["f"], ["g"]]),
        ("f() { a; }; f", [["a"], ["f"]]),
        ("x=(a b) c", [["x=()", "c"]]),
        ("x=1 a", [["x=1", "a"]]),
        ("P=/etc; cat $P/shadow ${P}/x", [["P=/etc"], ["cat", "/etc/shadow", "/etc/x"]]),
        ("P=a; P=$(b); cat $P", [["P=a"], ["b"], ["P=$()"], ["cat", "$P"]]),
        ("cat ${x:-/etc/shadow} ${#T}", [["cat", "$x:-/etc/shadow", "0"]]),
        ("cat <<EOF > f\na $(b) `c`\nd\nEOF\ne", [["cat"], ["b"], ["c"], ["e"]]),
        ("cat <<'EOF'\na $(b)\nEOF\ne", [["cat"], ["e"]]),
        ("cat <<-EOF\n\ta\n\tEOF\nb", [["cat"], ["b"]]),
        ("cat <<A <<B\na\nA\nb\nB\nc", [["cat"], ["c"]]),
        ("cat <<EOF\nnever ends", [["cat"]]),
        ('git commit -m "$(cat <<\'E\'\ncat x\nE\n)" && a', [["cat"], ["git", "commit", "-m", "$()"], ["a"]]),
        ('a "never $(b c', [["b", "c"], ["a", "never "]]),
        ("a 'never", [["a", "never"]]),
        ("a )", [["a"]]),
        ("\\rm x", [["rm", "x"]]),
        ("a;\r\nb\r\n", [["a"], ["b"]]),
    ],
)  # fmt: skip
def test_a_text_is_split_into_its_commands(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > b", [(">", "b")]),
        ("a >b 2>c", [(">", "b"), (">", "c")]),
        ("a >>b <c", [(">>", "b"), ("<", "c")]),
        ("a 2>&1 >/dev/null", [(">&", "1"), (">", "/dev/null")]),
        ("a &> b", [("&>", "b")]),
        ("a >| b", [(">|", "b")]),
        ("exec 3<>/dev/tcp/h/80", [("<>", "/dev/tcp/h/80")]),
        ('a > "b c"', [(">", "b c")]),
        ("> a", [(">", "a")]),
        ("a x2>b", [(">", "b")]),
    ],
)
def test_redirects_are_told_from_words(text, expected):
    (command,) = parse(text)

    assert list(command.redirects) == expected


def test_a_number_before_a_redirect_is_no_word():
    assert words("a 2>b") == [["a"]]
    assert words("a x2>b") == [["a", "x2"]]
    assert words('a "2">b') == [["a", "2"]]


def test_text_for_standard_input_is_kept():
    here, string = parse("bash <<EOF\nrm x\nEOF\ncat <<<'a b'")

    assert (here.stdin, string.stdin) == ("rm x\n", "a b")


def test_a_pipe_joins_its_commands():
    first, second, third = parse("a | b && c")

    assert first.after is second
    assert second.before is first
    assert second.piped
    assert second.after is None
    assert not third.piped


def test_a_pipe_at_the_end_of_a_line_goes_on_in_the_next():
    first, second = parse("a |\n b")

    assert second.before is first


def test_the_last_command_of_a_group_feeds_the_pipe_behind_it():
    _, inner, outer = parse("(a; b) | c")

    assert outer.before is inner


def test_no_more_than_the_longest_text_is_parsed():
    assert words("a" * MAX_TEXT + "b") == [["a" * MAX_TEXT]]


@given(SHELL_TEXTS)
def test_any_text_is_split_without_failing_and_always_alike(text):
    assert words(text) == words(text)
    assert sum(len(word) for command in parse(text) for word in command.words) <= 4 * len(text) + 64


@given(st.text(st.sampled_from("ab /.-=*?~1\t;|&"), max_size=60))
def test_plain_texts_are_split_as_the_parser_would(text):
    def shown(commands):
        return [(c.words, c.piped, c.before.words if c.before and c.piped else None) for c in commands]

    if shell._PLAIN.match(text.replace(" 2>&1", "")):
        assert shown(parse(text)) == shown(shell._Parser(text, shell.Budget()).run())


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a", ["a"]),
        ("a{b,c}d", ["abd", "acd"]),
        ("{a}", ["{a}"]),
        ("a}b{c", ["a}b{c"]),
        ("{" + "a," * 50 + "}", ["a"] * 16),
    ],
)
def test_braces_make_a_bounded_number_of_words(word, expected):
    assert list(expand_braces(word)) == expected
