"""Texts for shells, made of what shells treat specially."""

from hypothesis import strategies as st

#: Text of what shells treat specially, so that random texts are not all plain words.
PIECES = st.sampled_from(
    [
        "a", "b/c", " ", "\n", "\t", "'", '"', "`", "$", "$(", "$((", "${", "${x:-", "(", ")", "))", "{",
        "}", ";", ";;", "&", "&&", "|", "||", ">", ">>", "<", "<<", "<<-", "<<<", "<(", "2>&1", "&>", "\\",
        "#", "=", "x=1", "$x", "[[", "]]", "case", "in", "esac", "if", "then", "fi", "for", "do", "done",
        "EOF", "<<EOF", "<<'EOF'", "$'", "\\'", "\x00", "\ud800", "é", "eval", "bash -c", "sudo", "cat",
        "find", "-exec", "xargs", "ssh", "curl", "-d", "@", "python", "-c", "/etc/shadow", "https://x.y/",
    ]
)  # fmt: skip
SHELL_TEXTS = st.lists(PIECES, max_size=40).map("".join)
