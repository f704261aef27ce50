/* The compiled kernel: what takes most of the time of native telemetry, in C. Optional: each function has its
 * reference in Python, named below, and tests compare the two bit by bit. See sentineld/kernel.py.
 *
 * Input is adversarial. Every function takes immutable bytes, numbers and lists, gives new objects, and changes
 * nothing that it was given; `group` alone adds to a dictionary, which its caller throws away after an error.
 * Where input is not plain, the answer is None: the reference then does the work. That is always right, so
 * everything that is rare, large or doubtful is left to it.
 *
 * Python's limited API, so that one object serves all versions from 3.11 on.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The same bits as Python's own arithmetic: no wider registers. */
#if FLT_EVAL_METHOD != 0
#error "floating point has excess precision here: the reference in Python is used"
#endif

typedef unsigned char byte;

/* One unit of entropy, and the scale of the terms, as in entropy.py. */
#define UNITS 1000000000LL
#define SCALE (1LL << 24)
/* Integers up to here are exact as double. */
#define EXACT (1LL << 53)

/* Entropy (entropy.py: batch_entropy_units) ------------------------------------------------------------ */

/* terms[n] = n * log2(n), scaled; `length` is below `terms`' size. */
static int64_t
units_of(const int64_t *terms, const uint16_t *counts, int width, int length)
{
    if (length == 0) {
        return 0;
    }
    int64_t total = 0;
    for (int number = 0; number < width; number += 4) {
        uint64_t four;
        memcpy(&four, &counts[number], sizeof four);
        /* Most bytes do not occur, and nothing has no term. */
        if (four != 0) {
            total += terms[counts[number]] + terms[counts[number + 1]]
                + terms[counts[number + 2]] + terms[counts[number + 3]];
        }
    }
    double ratio = (double)(terms[length] - total) / (double)(length * (8 * SCALE));
    ratio = ratio < 0.0 ? 0.0 : ratio > 1.0 ? 1.0 : ratio;
    return (int64_t)rint(ratio * (double)UNITS);
}

/* Payloads of this length and more are counted in Python. A count must fit 16 bits. */
#define TERMS 4096

/* The table of terms: TERMS numbers of 64 bits. */
static const int64_t *
terms_of(PyObject *object, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (view->len != TERMS * (Py_ssize_t)sizeof(int64_t) || (uintptr_t)view->buf % sizeof(int64_t)) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_ValueError, "a table of 4096 terms of 64 bits is needed");
        return NULL;
    }
    return view->buf;
}

PyDoc_STRVAR(entropy_doc,
"entropy(payloads, terms) -> list\n\n"
"Entropy of each payload (bytes) in billionths; -1 for those of 4096 bytes and more.");

static PyObject *
entropy(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "entropy(payloads: list, terms)");
        return NULL;
    }
    Py_buffer view;
    const int64_t *terms = terms_of(args[1], &view);
    if (terms == NULL) {
        return NULL;
    }
    Py_ssize_t size = PyList_Size(args[0]);
    PyObject *found = PyList_New(size);
    for (Py_ssize_t number = 0; found != NULL && number < size; number++) {
        char *data;
        Py_ssize_t length;
        PyObject *payload = PyList_GetItem(args[0], number);
        if (payload == NULL || PyBytes_AsStringAndSize(payload, &data, &length) < 0) {
            Py_CLEAR(found);
            break;
        }
        int64_t units = -1;
        if (length < TERMS) {
            uint16_t counts[256] = {0};
            for (Py_ssize_t at = 0; at < length; at++) {
                counts[(byte)data[at]]++;
            }
            units = units_of(terms, counts, 256, (int)length);
        }
        PyObject *item = PyLong_FromLongLong(units);
        if (item == NULL || PyList_SetItem(found, number, item) < 0) {
            Py_CLEAR(found);
        }
    }
    PyBuffer_Release(&view);
    return found;
}

/* Native lines (native.py: NativeMapping.rows_of_lines) ------------------------------------------------ */

/* Deepest nesting, keys of one object, keys of all open objects, and bytes of a line that are read here. */
#define MAX_DEPTH 8
#define MAX_KEYS 64
#define MAX_OPEN_KEYS 128
#define MAX_LINE 60000
/* Bytes of the shortest record, its LF included. */
#define LEAST_LINE 50
#define MAX_NAME 128
/* Unix times from here on are not in seconds. */
#define FIRST_MS 100000000000LL
#define SECOND_US 1000000LL

typedef struct {
    const byte *start;
    int length;
} Slice;

/* One line: where it begins, what it says. `when` is set where the time is text: then `at_us` is not. */
typedef struct {
    Py_ssize_t start;
    int64_t at_us;
    int64_t entropy;
    Slice type, source, when;
} Row;

/* A line that is being read. What is counted are the bytes of the payload in canonical form. */
typedef struct {
    const byte *at, *end;
    const int64_t *terms;
    int length;
    bool is_ascii;
    uint16_t counts[256];
    Slice keys[MAX_OPEN_KEYS];
} Line;

enum { PLAIN, QUOTE, BACKSLASH, CONTROL, WIDE };

static byte kind_of[256];
/* Characters of agents' ids, and those of types: printable ASCII. */
static bool is_id_byte[256], is_type_byte[256];

static void
fill_tables(void)
{
    for (int number = 0; number < 256; number++) {
        kind_of[number] = number < 0x20 ? CONTROL : number >= 0x80 ? WIDE : PLAIN;
        is_type_byte[number] = number >= 0x20 && number < 0x7f && number != '"' && number != '\\';
    }
    kind_of['"'] = QUOTE;
    kind_of['\\'] = BACKSLASH;
    const char *characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/@+~-";
    for (const char *next = characters; *next; next++) {
        is_id_byte[(byte)*next] = true;
    }
}

static inline bool
is_digit(byte found)
{
    return found >= '0' && found <= '9';
}

static inline void
skip_blank(Line *line)
{
    while (line->at < line->end && (*line->at == ' ' || *line->at == '\t' || *line->at == '\r')) {
        line->at++;
    }
}

/* Take one byte that must stand next, behind white space. */
static inline bool
take(Line *line, byte wanted)
{
    skip_blank(line);
    if (line->at == line->end || *line->at != wanted) {
        return false;
    }
    line->at++;
    return true;
}

/* Count one byte. Lines have at most MAX_LINE bytes and no canonical form is longer: nothing overflows. */
static inline void
count(Line *line, byte found)
{
    line->counts[found]++;
    line->length++;
}

static inline bool
take_counted(Line *line, byte wanted)
{
    if (!take(line, wanted)) {
        return false;
    }
    count(line, wanted);
    return true;
}

static inline void
count_all(Line *line, const byte *start, const byte *end)
{
    uint16_t *counts = line->counts;
    line->length += (int)(end - start);
    for (; end - start >= 4; start += 4) {
        counts[start[0]]++;
        counts[start[1]]++;
        counts[start[2]]++;
        counts[start[3]]++;
    }
    for (; start < end; start++) {
        counts[*start]++;
    }
}

#define EIGHT(value) (0x0101010101010101ULL * (value))
/* Which of eight bytes, all of them below 0x80, are below `least`, or are `value`: their highest bits are set. */
#define BELOW(eight, least) (((eight) - EIGHT(least)) & ~(eight))
#define EQUAL(eight, value) BELOW((eight) ^ EIGHT(value), 1)

/* Return where characters end that stand for themselves in a string of ASCII. */
static inline const byte *
plain_end(const byte *at, const byte *end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t eight;
        memcpy(&eight, at, sizeof eight);
        if ((eight | BELOW(eight, 0x20) | EQUAL(eight, '"') | EQUAL(eight, '\\')) & EIGHT(0x80)) {
            break;
        }
    }
    while (at < end && kind_of[*at] == PLAIN) {
        at++;
    }
    return at;
}

/* Count one character as UTF-8; `code` is no surrogate, and at least 0x80. */
static void
count_character(Line *line, uint32_t code)
{
    line->is_ascii = false;
    if (code < 0x800) {
        count(line, (byte)(0xc0 | code >> 6));
    } else {
        if (code < 0x10000) {
            count(line, (byte)(0xe0 | code >> 12));
        } else {
            count(line, (byte)(0xf0 | code >> 18));
            count(line, (byte)(0x80 | (code >> 12 & 0x3f)));
        }
        count(line, (byte)(0x80 | (code >> 6 & 0x3f)));
    }
    count(line, (byte)(0x80 | (code & 0x3f)));
}

/* Take a character of two to four bytes of UTF-8: the shortest form, no surrogate. */
static bool
take_wide(Line *line)
{
    const byte *at = line->at;
    int more = *at >= 0xc2 && *at < 0xe0 ? 1 : *at >= 0xe0 && *at < 0xf0 ? 2 : *at >= 0xf0 && *at < 0xf5 ? 3 : 0;
    if (more == 0 || line->end - at <= more) {
        return false;
    }
    uint32_t code = *at & (0x3fu >> more);
    for (int number = 1; number <= more; number++) {
        if ((at[number] & 0xc0) != 0x80) {
            return false;
        }
        code = code << 6 | (at[number] & 0x3f);
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        return false;
    }
    count_all(line, at, at + more + 1);
    line->is_ascii = false;
    line->at += more + 1;
    return true;
}

/* Take four hexadecimal digits; -1 where there are none. */
static int32_t
take_hex(Line *line)
{
    if (line->end - line->at < 4) {
        return -1;
    }
    int32_t code = 0;
    for (int number = 0; number < 4; number++) {
        byte digit = *line->at++;
        int value = is_digit(digit) ? digit - '0'
                  : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                  : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
        if (value < 0) {
            return -1;
        }
        code = code << 4 | value;
    }
    return code;
}

/* Take what stands behind a backslash. Other spellings of what has a shorter one are not plain in a key. */
static bool
take_escape(Line *line, bool is_key)
{
    if (line->at == line->end) {
        return false;
    }
    byte found = *line->at++;
    switch (found) {
    case '"': case '\\': case 'b': case 'f': case 'n': case 'r': case 't':
        count(line, '\\');
        count(line, found);
        return true;
    case '/':
        count(line, '/');
        return !is_key;
    case 'u': {
        int32_t code = take_hex(line);
        /* ASCII: a control character, a quotation mark, or somebody hides something. */
        if (is_key || code < 0x80 || (code >= 0xdc00 && code < 0xe000)) {
            return false;
        }
        if (code >= 0xd800 && code < 0xdc00) {
            if (line->end - line->at < 6 || line->at[0] != '\\' || line->at[1] != 'u') {
                return false;
            }
            line->at += 2;
            int32_t low = take_hex(line);
            if (low < 0xdc00 || low >= 0xe000) {
                return false;
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        count_character(line, (uint32_t)code);
        return true;
    }
    default:
        return false;
    }
}

/* Take a string, the quotation marks included; `found` becomes what stands between them, as written. */
static bool
take_string(Line *line, bool is_key, Slice *found)
{
    if (!take_counted(line, '"')) {
        return false;
    }
    const byte *start = line->at;
    for (;;) {
        const byte *end = line->end, *at = plain_end(line->at, end);
        count_all(line, line->at, at);
        line->at = at;
        if (at == end) {
            return false;
        }
        switch (kind_of[*at]) {
        case QUOTE:
            found->start = start;
            found->length = (int)(at - start);
            count(line, '"');
            line->at++;
            return true;
        case BACKSLASH:
            line->at++;
            if (!take_escape(line, is_key)) {
                return false;
            }
            break;
        case WIDE:
            if (!take_wide(line)) {
                return false;
            }
            break;
        default:
            return false;
        }
    }
}

/* Take a number that is written as it would be encoded: whole, of up to 18 digits; or a decimal fraction of up
 * to 15 that are worth something, which every shortest form of a double gives back. */
static bool
take_number(Line *line)
{
    const byte *start = line->at, *at = start, *end = line->end;
    bool is_negative = at < end && *at == '-';
    at += is_negative;
    const byte *whole = at;
    while (at < end && is_digit(*at)) {
        at++;
    }
    Py_ssize_t digits = at - whole;
    if (digits == 0 || digits > 18 || (*whole == '0' && digits > 1)) {
        return false;
    }
    if (at < end && *at == '.') {
        const byte *part = ++at;
        while (at < end && is_digit(*at)) {
            at++;
        }
        Py_ssize_t places = at - part;
        if (places == 0 || digits + places > 15) {
            return false;
        }
        if (at[-1] == '0' && places > 1) {
            return false;
        }
        /* Small ones may be written with an exponent, and zero may have a sign. */
        bool is_small = *whole == '0' && part[0] == '0'
            && (places < 2 || part[1] == '0') && (places < 3 || part[2] == '0');
        if (is_small && (is_negative || places > 1)) {
            return false;
        }
    } else if (is_negative && *whole == '0') {
        return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        return false;
    }
    count_all(line, start, at);
    line->at = at;
    return true;
}

static bool
take_word(Line *line, const char *word)
{
    Py_ssize_t length = (Py_ssize_t)strlen(word);
    if (line->end - line->at < length || memcmp(line->at, word, (size_t)length) != 0) {
        return false;
    }
    count_all(line, line->at, line->at + length);
    line->at += length;
    return true;
}

static inline bool
is_named(const Slice *slice, const char *name)
{
    size_t length = strlen(name);
    return (size_t)slice->length == length && memcmp(slice->start, name, length) == 0;
}

static bool take_object(Line *line, int depth, int first_key, bool *is_empty);

static bool
take_value(Line *line, int depth, int first_key)
{
    Slice ignored;
    bool is_empty;
    skip_blank(line);
    if (line->at == line->end) {
        return false;
    }
    switch (*line->at) {
    case '"':
        return take_string(line, false, &ignored);
    case '{':
        return take_object(line, depth + 1, first_key, &is_empty);
    case '[':
        if (depth + 1 > MAX_DEPTH) {
            return false;
        }
        take_counted(line, '[');
        if (take_counted(line, ']')) {
            return true;
        }
        do {
            if (!take_value(line, depth + 1, first_key)) {
                return false;
            }
        } while (take_counted(line, ','));
        return take_counted(line, ']');
    case 't':
        return take_word(line, "true");
    case 'f':
        return take_word(line, "false");
    case 'n':
        return take_word(line, "null");
    default:
        return take_number(line);
    }
}

/* Take an object whose keys differ. Its keys are kept from `first_key` on. The payload has depth 1: there the
 * names of a session and of a tool mean something. */
static bool
take_object(Line *line, int depth, int first_key, bool *is_empty)
{
    if (depth > MAX_DEPTH || !take_counted(line, '{')) {
        return false;
    }
    *is_empty = take_counted(line, '}');
    if (*is_empty) {
        return true;
    }
    int keys = first_key;
    do {
        if (keys == MAX_OPEN_KEYS || keys - first_key == MAX_KEYS) {
            return false;
        }
        Slice *key = &line->keys[keys];
        skip_blank(line);
        if (!take_string(line, true, key)) {
            return false;
        }
        for (int other = first_key; other < keys; other++) {
            const Slice *known = &line->keys[other];
            if (known->length == key->length
                && memcmp(known->start, key->start, (size_t)key->length) == 0) {
                return false;
            }
        }
        if (depth == 1 && (is_named(key, "tool") || is_named(key, "session"))) {
            return false;
        }
        keys++;
        if (!take_counted(line, ':') || !take_value(line, depth, keys)) {
            return false;
        }
    } while (take_counted(line, ','));
    return take_counted(line, '}');
}

/* Take a name of up to MAX_NAME bytes, all of them allowed. */
static bool
take_name(Line *line, const bool *is_allowed, Slice *found)
{
    if (!take(line, '"')) {
        return false;
    }
    const byte *start = line->at;
    while (line->at < line->end && is_allowed[*line->at]) {
        line->at++;
    }
    Py_ssize_t length = line->at - start;
    if (length == 0 || length > MAX_NAME || line->at == line->end || *line->at != '"') {
        return false;
    }
    line->at++;
    found->start = start;
    found->length = (int)length;
    return true;
}

/* Take a time: seconds in a plain number above 0, or text, for Python to read. */
static bool
take_time(Line *line, Row *row)
{
    skip_blank(line);
    if (line->at < line->end && *line->at == '"') {
        return take_name(line, is_type_byte, &row->when);
    }
    const byte *whole = line->at, *at = whole, *end = line->end;
    int64_t value = 0;
    while (at < end && is_digit(*at) && at - whole < 12) {
        value = value * 10 + (*at++ - '0');
    }
    Py_ssize_t digits = at - whole;
    if (digits == 0 || (*whole == '0' && digits > 1) || value >= FIRST_MS) {
        return false;
    }
    if (at == end || *at != '.') {
        row->at_us = value * SECOND_US;
    } else {
        /* Up to 15 digits and their power of ten are exact, so the quotient is what reading them gives. */
        const byte *part = ++at;
        double power = 1.0;
        while (at < end && is_digit(*at)) {
            if (digits + (at - part) >= 15) {
                return false;
            }
            value = value * 10 + (*at++ - '0');
            power *= 10.0;
        }
        if (at == part) {
            return false;
        }
        row->at_us = (int64_t)rint((double)value / power * (double)SECOND_US);
    }
    if (value == 0 || (at < end && (is_digit(*at) || *at == 'e' || *at == 'E' || *at == '.'))) {
        return false;
    }
    row->when.length = 0;
    line->at = at;
    return true;
}

/* Read one line, without its LF: a record of four members and nothing else. */
static bool
read_line(Line *line, Row *row)
{
    enum { TYPE = 1, SOURCE = 2, TIME = 4, DATA = 8 };
    int seen = 0;
    if (line->end - line->at > MAX_LINE || !take(line, '{')) {
        return false;
    }
    do {
        Slice key;
        int member = 0;
        bool is_read = false;
        if (!take_name(line, is_type_byte, &key) || !take(line, ':')) {
            return false;
        }
        if (is_named(&key, "type")) {
            member = TYPE;
            is_read = take_name(line, is_type_byte, &row->type) && !is_named(&row->type, "tool_call");
        } else if (is_named(&key, "source")) {
            member = SOURCE;
            is_read = take_name(line, is_id_byte, &row->source);
        } else if (is_named(&key, "timestamp")) {
            member = TIME;
            is_read = take_time(line, row);
        } else if (is_named(&key, "data") && !(seen & DATA)) {
            bool is_empty;
            member = DATA;
            skip_blank(line);
            line->length = 0;
            line->is_ascii = true;
            memset(line->counts, 0, sizeof line->counts);
            is_read = take_object(line, 1, 0, &is_empty) && line->length < TERMS;
            if (is_read) {
                int length = is_empty ? 0 : line->length;
                row->entropy = units_of(line->terms, line->counts, line->is_ascii ? 128 : 256, length);
            }
        }
        if (!is_read || (seen & member)) {
            return false;
        }
        seen |= member;
    } while (take(line, ','));
    if (seen != (TYPE | SOURCE | TIME | DATA) || !take(line, '}')) {
        return false;
    }
    skip_blank(line);
    return line->at == line->end;
}

/* Texts of one column, so that equal ones that follow soon are one object. */
#define SLOTS 1024
#define PROBES 4

typedef struct {
    Slice slice;
    PyObject *text, *kind;
} Text;

static Text *
text_of(Text *texts, const Slice *slice)
{
    uint32_t hash = 2166136261u;
    for (int at = 0; at < slice->length; at++) {
        hash = (hash ^ slice->start[at]) * 16777619u;
    }
    hash ^= hash >> 15;
    Text *slot = NULL;
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        slot = &texts[(hash + probe) % SLOTS];
        if (slot->text == NULL) {
            break;
        }
        if (slot->slice.length == slice->length
            && memcmp(slot->slice.start, slice->start, (size_t)slice->length) == 0) {
            return slot;
        }
    }
    PyObject *text = PyUnicode_FromStringAndSize((const char *)slice->start, slice->length);
    if (text == NULL) {
        return NULL;
    }
    Py_CLEAR(slot->kind);
    Py_XDECREF(slot->text);
    slot->text = text;
    slot->slice = *slice;
    return slot;
}

static void
free_texts(Text *texts)
{
    for (int number = 0; texts != NULL && number < SLOTS; number++) {
        Py_XDECREF(texts[number].text);
        Py_XDECREF(texts[number].kind);
    }
    PyMem_Free(texts);
}

/* Put a new reference into a list that is being made; false where there is none. */
static bool
put(PyObject *list, Py_ssize_t number, PyObject *item)
{
    return item != NULL && PyList_SetItem(list, number, item) == 0;
}

enum { AT, AGENT, KIND, ENTROPY, TYPE_NAME, OFFSET, COLUMNS };

/* Make the columns of `size` rows; `kinds` has the kinds of types that are counted, `others` that of the rest. */
static bool
fill_columns(PyObject **columns, const Row *rows, Py_ssize_t size, Py_ssize_t base, PyObject *kinds,
             PyObject *others, Text *types, Text *agents)
{
    for (Py_ssize_t number = 0; number < size; number++) {
        const Row *row = &rows[number];
        Text *type = text_of(types, &row->type), *agent = text_of(agents, &row->source);
        if (type == NULL || agent == NULL) {
            return false;
        }
        if (type->kind == NULL) {
            PyObject *kind = PyDict_GetItemWithError(kinds, type->text);
            if (kind == NULL && PyErr_Occurred()) {
                return false;
            }
            type->kind = Py_NewRef(kind == NULL ? others : kind);
        }
        PyObject *at;
        if (row->when.length != 0) {
            at = PyUnicode_FromStringAndSize((const char *)row->when.start, row->when.length);
        } else if (number > 0 && row[-1].when.length == 0 && row[-1].at_us == row->at_us) {
            /* Many happened in one second. */
            at = Py_XNewRef(PyList_GetItem(columns[AT], number - 1));
        } else {
            at = PyLong_FromLongLong(row->at_us);
        }
        if (!put(columns[AT], number, at)
            || !put(columns[AGENT], number, Py_NewRef(agent->text))
            || !put(columns[KIND], number, Py_NewRef(type->kind))
            || !put(columns[ENTROPY], number, PyLong_FromLongLong(row->entropy))
            || !put(columns[TYPE_NAME], number, Py_NewRef(type->text))
            || !put(columns[OFFSET], number, PyLong_FromSsize_t(base + row->start))) {
            return false;
        }
    }
    return true;
}

/* Read all lines; false where one is not plain. `texts` becomes how many of the times are text. */
static bool
read_lines(const byte *data, Py_ssize_t length, const int64_t *terms, Row *rows, Py_ssize_t *texts)
{
    Line line = {.terms = terms};
    Py_ssize_t start = 0;
    *texts = 0;
    for (Row *row = rows; start < length; row++) {
        const byte *end = memchr(data + start, '\n', (size_t)(length - start));
        if (end == NULL) {
            return false;
        }
        line.at = data + start;
        line.end = end;
        row->start = start;
        if (!read_line(&line, row)) {
            return false;
        }
        *texts += row->when.length != 0;
        start = end + 1 - data;
    }
    return true;
}

PyDoc_STRVAR(native_lines_doc,
"native_lines(data, base, kinds, others, terms) -> tuple | None\n\n"
"Read whole lines (bytes) of plain native records, the first of which begins at `base` of its file. Columns:\n"
"times (microseconds, or text that is yet to be read), agents, kinds, entropies, types, offsets; and how many\n"
"of the times are text. None where any line is not plain.");

static PyObject *
native_lines(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    char *text;
    Py_ssize_t length;
    if (nargs != 5 || !PyDict_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "native_lines(data: bytes, base: int, kinds: dict, others: int, terms)");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(args[0], &text, &length) < 0) {
        return NULL;
    }
    const byte *data = (const byte *)text;
    Py_ssize_t base = PyLong_AsSsize_t(args[1]);
    if (base == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (length == 0 || data[length - 1] != '\n' || base < 0 || base > PY_SSIZE_T_MAX - length) {
        Py_RETURN_NONE;
    }
    Py_ssize_t size = 0, times = 0;
    for (const byte *next = data; next < data + length; size++) {
        next = (const byte *)memchr(next, '\n', (size_t)(data + length - next)) + 1;
    }
    if (size > length / LEAST_LINE) {
        Py_RETURN_NONE;
    }
    Py_buffer view;
    const int64_t *terms = terms_of(args[4], &view);
    if (terms == NULL) {
        return NULL;
    }
    PyObject *columns[COLUMNS] = {NULL}, *found = NULL;
    Text *types = NULL, *agents = NULL;
    Row *rows = (size_t)size > PY_SSIZE_T_MAX / sizeof(Row) ? NULL : PyMem_Malloc((size_t)size * sizeof(Row));
    if (rows == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    if (!read_lines(data, length, terms, rows, &times)) {
        found = Py_NewRef(Py_None);
        goto end;
    }
    types = PyMem_Calloc(SLOTS, sizeof(Text));
    agents = PyMem_Calloc(SLOTS, sizeof(Text));
    if (types == NULL || agents == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    for (int number = 0; number < COLUMNS; number++) {
        columns[number] = PyList_New(size);
        if (columns[number] == NULL) {
            goto end;
        }
    }
    if (fill_columns(columns, rows, size, base, args[2], args[3], types, agents)) {
        found = Py_BuildValue("(OOOOOOn)", columns[AT], columns[AGENT], columns[KIND], columns[ENTROPY],
                              columns[TYPE_NAME], columns[OFFSET], times);
    }
end:
    for (int number = 0; number < COLUMNS; number++) {
        Py_XDECREF(columns[number]);
    }
    free_texts(types);
    free_texts(agents);
    PyMem_Free(rows);
    PyBuffer_Release(&view);
    return found;
}

/* Observations by agent (batch.py: combine) ------------------------------------------------------------ */

PyDoc_STRVAR(group_doc,
"group(runs, agent_ids, times, kinds, entropies, event_types, source_id, offsets, facts)\n\n"
"Make an observation of each row and append it to its agent's list in `runs`, which gets new lists for new\n"
"agents. Columns are lists; `facts` is None where no row has any. After an error `runs` is of no use.");

static PyObject *
group(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    enum { RUNS, IDS, FIRST, SOURCE = 6, OFFSETS, FACTS, ARGUMENTS };
    if (nargs != ARGUMENTS || !PyDict_Check(args[RUNS]) || !PyList_Check(args[IDS])) {
        PyErr_SetString(PyExc_TypeError, "group(runs: dict, agent_ids: list, ...)");
        return NULL;
    }
    Py_ssize_t size = PyList_Size(args[IDS]);
    bool has_facts = args[FACTS] != Py_None;
    for (int number = FIRST; number < ARGUMENTS; number++) {
        if (number == SOURCE || (number == FACTS && !has_facts)) {
            continue;
        }
        if (!PyList_Check(args[number]) || PyList_Size(args[number]) != size) {
            PyErr_SetString(PyExc_ValueError, "columns must be lists of one length");
            return NULL;
        }
    }
    for (Py_ssize_t row = 0; row < size; row++) {
        PyObject *observation = PyTuple_New(ARGUMENTS - FIRST);
        if (observation == NULL) {
            return NULL;
        }
        for (int number = FIRST; number < ARGUMENTS; number++) {
            bool is_column = number != SOURCE && (number != FACTS || has_facts);
            PyObject *item = is_column ? PyList_GetItem(args[number], row) : args[number];
            if (item == NULL || PyTuple_SetItem(observation, number - FIRST, Py_NewRef(item)) < 0) {
                Py_DECREF(observation);
                return NULL;
            }
        }
        if (!has_facts) {
            /* Numbers and texts: nothing that a garbage collector would have to look at. */
            PyObject_GC_UnTrack(observation);
        }
        PyObject *agent = PyList_GetItem(args[IDS], row);
        PyObject *run = agent == NULL ? NULL : PyDict_GetItemWithError(args[RUNS], agent);
        int failed = -1;
        if (run != NULL) {
            failed = PyList_Append(run, observation);
        } else if (agent != NULL && !PyErr_Occurred()) {
            PyObject *fresh = PyList_New(1);
            if (fresh != NULL) {
                failed = PyList_SetItem(fresh, 0, Py_NewRef(observation));
                failed = failed < 0 ? failed : PyDict_SetItem(args[RUNS], agent, fresh);
                Py_DECREF(fresh);
            }
        }
        Py_DECREF(observation);
        if (failed < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* Whole numbers of `list`'s items, or of the first member of each where those are tuples. */
static bool
time_of(PyObject *list, Py_ssize_t number, int64_t *found)
{
    PyObject *item = PyList_GetItem(list, number);
    if (item != NULL && PyTuple_Check(item)) {
        item = PyTuple_GetItem(item, 0);
    }
    if (item == NULL) {
        return false;
    }
    *found = PyLong_AsLongLong(item);
    return *found != -1 || !PyErr_Occurred();
}

PyDoc_STRVAR(span_doc,
"span(observations) -> (first, last)\n\n"
"The earliest and the latest instant of observations, or of times, of which there is one at least.");

static PyObject *
span(PyObject *Py_UNUSED(module), PyObject *list)
{
    int64_t first = 0, last = 0, at = 0;
    if (!PyList_Check(list) || PyList_Size(list) == 0) {
        PyErr_SetString(PyExc_ValueError, "span(observations: list), one at least");
        return NULL;
    }
    for (Py_ssize_t number = 0, size = PyList_Size(list); number < size; number++) {
        if (!time_of(list, number, &at)) {
            return NULL;
        }
        first = number == 0 || at < first ? at : first;
        last = number == 0 || at > last ? at : last;
    }
    return Py_BuildValue("(LL)", (long long)first, (long long)last);
}

/* The window over a run (monitor.py: BehavioralMonitor.observe) ----------------------------------------- */

/* Buckets of a window, and what its members can be at most: so no sum overflows. */
#define BUCKETS 31
#define FAR (1LL << 60)
#define MOST_EVENTS (EXACT / UNITS - 1)
/* The oldest bucket of an empty window. */
#define EMPTY (1LL << 62)

/* A cell is read when it is needed; until then `sums` mean nothing. */
typedef struct {
    int64_t number;
    int64_t sums[4];
    bool is_read, is_changed;
} Bucket;

enum { EVENTS, FILES, NETWORKS, ENTROPIES };

/* `buckets` is a copy of the dictionary from numbers to lists of four. */
typedef struct {
    PyObject *buckets;
    /* In ascending order, from `first` on; numbers lie less than BUCKETS apart. */
    Bucket ring[BUCKETS + 1];
    int first, size;
    int64_t sums[4];
} Window;

static inline Bucket *
bucket_at(Window *window, int place)
{
    return &window->ring[(window->first + place) % (BUCKETS + 1)];
}

/* Read a number from `least` to `most`; false, and perhaps an error, where it is none. */
static bool
number_in(PyObject *object, int64_t least, int64_t most, int64_t *found)
{
    if (object == NULL || !PyLong_Check(object)) {
        return false;
    }
    *found = PyLong_AsLongLong(object);
    return *found >= least && *found <= most && !(*found == -1 && PyErr_Occurred());
}

static bool
read_sums(PyObject *list, int64_t *sums)
{
    if (list == NULL || !PyList_Check(list) || PyList_Size(list) != 4) {
        return false;
    }
    for (int sum = 0; sum < 4; sum++) {
        int64_t most = sum == ENTROPIES ? EXACT : MOST_EVENTS;
        if (!number_in(PyList_GetItem(list, sum), 0, most, &sums[sum])) {
            return false;
        }
    }
    return true;
}

/* Read what a bucket holds. */
static bool
read_bucket(const Window *window, Bucket *bucket)
{
    if (bucket->is_read) {
        return true;
    }
    PyObject *number = PyLong_FromLongLong(bucket->number);
    if (number == NULL) {
        return false;
    }
    bucket->is_read = read_sums(PyDict_GetItemWithError(window->buckets, number), bucket->sums);
    Py_DECREF(number);
    return bucket->is_read;
}

/* Read where a window's buckets are; false where they are not as a window has them. */
static bool
read_window(Window *window, int64_t newest)
{
    PyObject *key, *cell;
    Py_ssize_t position = 0;
    int64_t before = 0;
    while (PyDict_Next(window->buckets, &position, &key, &cell)) {
        if (window->size == BUCKETS) {
            return false;
        }
        Bucket *bucket = &window->ring[window->size];
        if (!number_in(key, -FAR, FAR, &bucket->number) || (window->size > 0 && bucket->number <= before)
            || bucket->number <= newest - BUCKETS || bucket->number > newest) {
            return false;
        }
        bucket->is_read = bucket->is_changed = false;
        before = bucket->number;
        window->size++;
    }
    return true;
}

/* Take the oldest bucket out of a window. */
static bool
drop_oldest(Window *window)
{
    Bucket *gone = bucket_at(window, 0);
    if (!read_bucket(window, gone)) {
        return false;
    }
    for (int sum = 0; sum < 4; sum++) {
        if (gone->sums[sum] > window->sums[sum]) {
            return false;
        }
        window->sums[sum] -= gone->sums[sum];
    }
    PyObject *number = PyLong_FromLongLong(gone->number);
    int is_there = number == NULL ? -1 : PyDict_Contains(window->buckets, number);
    int failed = is_there < 0 || (is_there && PyDict_DelItem(window->buckets, number) < 0);
    Py_XDECREF(number);
    window->first = (window->first + 1) % (BUCKETS + 1);
    window->size--;
    return !failed;
}

/* Write buckets that anything was added to into the dictionary; the others are there. */
static bool
write_window(Window *window)
{
    for (int place = 0; place < window->size; place++) {
        const Bucket *bucket = bucket_at(window, place);
        if (!bucket->is_changed) {
            continue;
        }
        const int64_t *sums = bucket->sums;
        PyObject *number = PyLong_FromLongLong(bucket->number);
        PyObject *cell = Py_BuildValue("[LLLL]", (long long)sums[EVENTS], (long long)sums[FILES],
                                       (long long)sums[NETWORKS], (long long)sums[ENTROPIES]);
        int failed = number == NULL || cell == NULL || PyDict_SetItem(window->buckets, number, cell) < 0;
        Py_XDECREF(number);
        Py_XDECREF(cell);
        if (failed) {
            return false;
        }
    }
    return true;
}

/* How scores are made: parts by count of operations up to `cap`, weights, and where the tier stays. */
typedef struct {
    const double *file_parts, *network_parts;
    int64_t cap;
    double entropy_weight, low, high;
} Scale;

static double
score_of(const Scale *scale, const int64_t *sums)
{
    double file = scale->file_parts[sums[FILES] < scale->cap ? sums[FILES] : scale->cap];
    double network = scale->network_parts[sums[NETWORKS] < scale->cap ? sums[NETWORKS] : scale->cap];
    double score = file + network;
    if (sums[EVENTS] > 0) {
        score += scale->entropy_weight * ((double)sums[ENTROPIES] / (double)(sums[EVENTS] * UNITS));
    } else {
        score += 0.0;
    }
    return score;
}

/* Read an observation's instant, kind and entropy; false where it is none, or one that is not plain. */
static bool
read_observation(PyObject *item, int64_t *at, int64_t *kind, int64_t *units)
{
    if (item == NULL || !PyTuple_Check(item) || PyTuple_Size(item) < 3) {
        return false;
    }
    return number_in(PyTuple_GetItem(item, 0), 0, FAR, at) && number_in(PyTuple_GetItem(item, 1), 0, 255, kind)
        && number_in(PyTuple_GetItem(item, 2), 0, UNITS, units);
}

/* What `observe` has come to. `score` is that of the crossing, if there is one, which `is_timed` says was by
 * the oldest bucket's leaving. */
typedef struct {
    Py_ssize_t position;
    int64_t clock_us, newest;
    double peak, score;
    bool has_crossed;
} Progress;

/* Let the window take in what stands in `list` from `position` on; false where it is not plain. */
static bool
follow(PyObject *list, int64_t deadline_us, int64_t width, const Scale *scale, Window *window, Progress *now)
{
    Py_ssize_t end = PyList_Size(list);
    while (now->position < end) {
        int64_t at, kind, units;
        if (!read_observation(PyList_GetItem(list, now->position), &at, &kind, &units)) {
            return false;
        }
        int64_t number = at / width;
        if (at > now->clock_us) {
            if (at > deadline_us) {
                return true;
            }
            while (window->size > 0 && bucket_at(window, 0)->number + BUCKETS <= number
                   && number > now->newest) {
                /* The oldest bucket leaves first, at an instant of its own. */
                now->newest = bucket_at(window, 0)->number + BUCKETS;
                if (!drop_oldest(window)) {
                    return false;
                }
                double score = score_of(scale, window->sums);
                if (!(scale->low < score && score <= scale->high)) {
                    now->clock_us = now->newest * width;
                    now->score = score;
                    now->has_crossed = true;
                    return true;
                }
            }
            now->newest = number > now->newest ? number : now->newest;
            now->clock_us = at;
        }
        now->position++;
        if (number < now->newest - (BUCKETS - 1)) {
            /* Older than the window: it counts over the agent's life, not here. */
            continue;
        }
        int place = window->size - 1;
        while (place >= 0 && bucket_at(window, place)->number > number) {
            place--;
        }
        Bucket *bucket;
        if (place >= 0 && bucket_at(window, place)->number == number) {
            bucket = bucket_at(window, place);
            if (!read_bucket(window, bucket)) {
                return false;
            }
        } else if (place == window->size - 1 && window->size < BUCKETS) {
            bucket = bucket_at(window, window->size++);
            *bucket = (Bucket){.number = number, .is_read = true};
        } else {
            /* Between others: their order tells when each was made, which only a dictionary keeps. */
            return false;
        }
        if (window->sums[EVENTS] >= MOST_EVENTS || window->sums[ENTROPIES] > EXACT - UNITS) {
            return false;
        }
        const int64_t added[] = {1, kind == 1, kind == 2, units};
        for (int sum = 0; sum < 4; sum++) {
            bucket->sums[sum] += added[sum];
            window->sums[sum] += added[sum];
        }
        bucket->is_changed = true;
        double score = score_of(scale, window->sums);
        now->peak = score > now->peak ? score : now->peak;
        if (!(scale->low < score && score <= scale->high)) {
            now->score = score;
            now->has_crossed = true;
            return true;
        }
    }
    return true;
}

/* Doubles in a buffer, of which there are `cap` + 1. */
static const double *
parts_of(PyObject *object, Py_buffer *view, int64_t *cap)
{
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (view->len < (Py_ssize_t)sizeof(double) || (uintptr_t)view->buf % sizeof(double)) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_ValueError, "parts of scores are an array of doubles");
        return NULL;
    }
    *cap = view->len / (Py_ssize_t)sizeof(double) - 1;
    return view->buf;
}

PyDoc_STRVAR(observe_doc,
"observe(observations, start, deadline_us, clock_us, newest, width, buckets, totals, file_parts,\n"
"        network_parts, entropy_weight, low, high) -> tuple | None\n\n"
"Let a window of buckets of `width` microseconds take in observations from `start` on, up to the first that is\n"
"later than the deadline, or that brings the score out of `low` (excluded) to `high`. What came of it:\n"
"(position, clock_us, peak, newest, buckets, events, file_ops, network_ops, entropy_units, the score that\n"
"crossed or None). None where anything is not plain. Nothing that is passed in is changed.");

static PyObject *
observe(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 13 || !PyList_Check(args[0]) || !PyDict_Check(args[6])) {
        PyErr_SetString(PyExc_TypeError, "observe takes a list, five numbers, a dict, a list of four, ...");
        return NULL;
    }
    Scale scale = {0};
    Window window = {0};
    Progress now = {0};
    int64_t start, deadline_us, width, network_cap;
    PyObject *answer = NULL;
    scale.entropy_weight = PyFloat_AsDouble(args[10]);
    scale.low = PyFloat_AsDouble(args[11]);
    scale.high = PyFloat_AsDouble(args[12]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_buffer files, networks;
    scale.file_parts = parts_of(args[8], &files, &scale.cap);
    if (scale.file_parts == NULL) {
        return NULL;
    }
    scale.network_parts = parts_of(args[9], &networks, &network_cap);
    if (scale.network_parts == NULL) {
        PyBuffer_Release(&files);
        return NULL;
    }
    window.buckets = PyDict_Copy(args[6]);
    bool is_plain = window.buckets != NULL && network_cap == scale.cap
        && number_in(args[1], 0, PY_SSIZE_T_MAX, &start) && number_in(args[2], -EMPTY, EMPTY, &deadline_us)
        && number_in(args[3], 0, FAR, &now.clock_us) && number_in(args[4], -EMPTY, FAR, &now.newest)
        && number_in(args[5], 1, FAR, &width) && read_sums(args[7], window.sums)
        && read_window(&window, now.newest);
    if (is_plain) {
        now.position = (Py_ssize_t)start;
        is_plain = follow(args[0], deadline_us, width, &scale, &window, &now) && write_window(&window);
    }
    PyBuffer_Release(&files);
    PyBuffer_Release(&networks);
    if (is_plain) {
        PyObject *score = now.has_crossed ? PyFloat_FromDouble(now.score) : Py_NewRef(Py_None);
        answer = score == NULL ? NULL
            : Py_BuildValue("(nLdLOLLLLN)", now.position, (long long)now.clock_us, now.peak,
                            (long long)now.newest, window.buckets, (long long)window.sums[EVENTS],
                            (long long)window.sums[FILES], (long long)window.sums[NETWORKS],
                            (long long)window.sums[ENTROPIES], score);
    } else if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        answer = Py_NewRef(Py_None);
    }
    Py_XDECREF(window.buckets);
    return answer;
}

/* Values of mapped records (values.py: from_otel; emission.py: time_of) ---------------------------------- */

/* Digits of any number that fits into 64 bits. */
#define SURE_DIGITS 18
enum { KEY, VALUE, TEXT_VALUE, NUMBER_VALUE, NAMES };

/* The value of an attribute that is text, or a whole number as text; NULL for all others. */
static PyObject *
plain_value(PyObject *value, PyObject *const *names)
{
    if (value == NULL || !PyDict_CheckExact(value) || PyDict_Size(value) != 1) {
        return NULL;
    }
    PyObject *found = PyDict_GetItemWithError(value, names[TEXT_VALUE]);
    if (found != NULL) {
        return Py_NewRef(found);
    }
    found = PyDict_GetItemWithError(value, names[NUMBER_VALUE]);
    if (found == NULL || !PyUnicode_CheckExact(found)) {
        return NULL;
    }
    Py_ssize_t digits = PyUnicode_GetLength(found);
    if (digits < 1 || digits > SURE_DIGITS) {
        return NULL;
    }
    found = PyNumber_Long(found);
    if (found == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
    }
    return found;
}

PyDoc_STRVAR(attributes_doc,
"attributes(items, names, other) -> dict\n\n"
"The attributes of OTLP in a list of keys and typed values. `names` are those of its members: key, value,\n"
"stringValue, intValue; `other(value, 0)` reads what is neither text nor a whole number of up to 18 digits.");

static PyObject *
attributes(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3 || !PyList_Check(args[0]) || !PyTuple_Check(args[1]) || PyTuple_Size(args[1]) != NAMES) {
        PyErr_SetString(PyExc_TypeError, "attributes(items: list, names: tuple of four, other)");
        return NULL;
    }
    PyObject *names[NAMES];
    for (int number = 0; number < NAMES; number++) {
        names[number] = PyTuple_GetItem(args[1], number);
    }
    PyObject *found = PyDict_New();
    for (Py_ssize_t number = 0; found != NULL && number < PyList_Size(args[0]); number++) {
        PyObject *item = PyList_GetItem(args[0], number);
        PyObject *name = PyDict_CheckExact(item) ? PyDict_GetItemWithError(item, names[KEY]) : NULL;
        if (name == NULL || !PyUnicode_CheckExact(name)) {
            continue;
        }
        PyObject *value = PyDict_GetItemWithError(item, names[VALUE]);
        PyObject *plain = plain_value(value, names);
        if (plain == NULL && !PyErr_Occurred()) {
            plain = PyObject_CallFunction(args[2], "Oi", value == NULL ? Py_None : value, 0);
        }
        if (plain == NULL || PyDict_SetItem(found, name, plain) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(plain);
    }
    return found;
}

/* The number that is spelled by so many digits; negative where they are none. */
static int
digits_at(const char *at, int count)
{
    int value = 0;
    for (int number = 0; number < count; number++) {
        if (!is_digit((byte)at[number])) {
            return -1;
        }
        value = value * 10 + (at[number] - '0');
    }
    return value;
}

/* Days from 1970-01-01 to a day of the Gregorian calendar; there is no such day: false. */
static bool
days_until(int year, int month, int day, int64_t *days)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    if (year < 1 || month < 1 || month > 12 || day < 1) {
        return false;
    }
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > before[month] - before[month - 1] + (is_leap && month == 2)) {
        return false;
    }
    int64_t years = year - 1;
    *days = years * 365 + years / 4 - years / 100 + years / 400 - 719162
        + before[month - 1] + (is_leap && month > 2) + day - 1;
    return true;
}

PyDoc_STRVAR(instant_doc,
"instant(text) -> int | None\n\n"
"The instant that is spelled `YYYY-MM-DDTHH:MM:SSZ`, with three or six decimals or none, in microseconds.\n"
"None where it is spelled in any other way.");

static PyObject *
instant(PyObject *Py_UNUSED(module), PyObject *text)
{
    /* Longer text is not looked at: it may have to be encoded first. */
    Py_ssize_t length = PyUnicode_Check(text) ? PyUnicode_GetLength(text) : 0;
    if (length != 20 && length != 24 && length != 27) {
        return Py_NewRef(Py_None);
    }
    Py_ssize_t size;
    const char *at = PyUnicode_AsUTF8AndSize(text, &size);
    if (at == NULL) {
        /* Half of a surrogate pair. */
        PyErr_Clear();
        return Py_NewRef(Py_None);
    }
    int decimals = length == 20 ? 0 : (int)length - 21;
    if (size != length || at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' || at[16] != ':'
        || at[length - 1] != 'Z' || (decimals > 0 && at[19] != '.')) {
        return Py_NewRef(Py_None);
    }
    int hour = digits_at(at + 11, 2), minute = digits_at(at + 14, 2), second = digits_at(at + 17, 2);
    int part = decimals > 0 ? digits_at(at + 20, decimals) : 0;
    int64_t days;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || part < 0
        || !days_until(digits_at(at, 4), digits_at(at + 5, 2), digits_at(at + 8, 2), &days)) {
        return Py_NewRef(Py_None);
    }
    int64_t seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    return PyLong_FromLongLong(seconds * SECOND_US + (decimals == 3 ? part * 1000 : part));
}

static PyMethodDef methods[] = {
    {"entropy", (PyCFunction)(void (*)(void))entropy, METH_FASTCALL, entropy_doc},
    {"native_lines", (PyCFunction)(void (*)(void))native_lines, METH_FASTCALL, native_lines_doc},
    {"group", (PyCFunction)(void (*)(void))group, METH_FASTCALL, group_doc},
    {"span", span, METH_O, span_doc},
    {"observe", (PyCFunction)(void (*)(void))observe, METH_FASTCALL, observe_doc},
    {"attributes", (PyCFunction)(void (*)(void))attributes, METH_FASTCALL, attributes_doc},
    {"instant", instant, METH_O, instant_doc},
    {NULL, NULL, 0, NULL},
};

/* Raised with every change of what a function takes or gives; kernel.py compares. */
#define EDITION 2

static int
begin(PyObject *module)
{
    fill_tables();
    return PyModule_AddIntConstant(module, "EDITION", EDITION);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)begin},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "sentineld._kernel",
    .m_doc = "What takes most of the time of native telemetry, compiled; see sentineld.kernel.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__kernel(void)
{
    return PyModuleDef_Init(&definition);
}
