"""Taxonomy: what a tool call does, from the tool's name and its arguments.

``Taxonomy.classify`` returns a ``Call``: the event class, the entities that are touched, the verbs of a command
line. The name is looked up first (names of Claude Code, Codex, Gemini CLI, Copilot, OpenClaw/Pi and their
like, in lower case), then its form (``mcp__server__tool``, ``server.tool``), then its words (``read_config_file``).
A shell's command line is read (see ``sentineld.commands``); a path or command that gives access to credentials
is ``credential_access`` whatever the tool. ``docs/taxonomy.md`` has the tables, the order and the limits.

Pure and total: no arguments make it fail, and its time and results are bounded.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from sentineld.commands import Commands, class_of, patch_rank
from sentineld.credentials import holds_credentials, is_secret
from sentineld.entities import Findings, SecretPath
from sentineld.errors import ConfigError
from sentineld.event import EVENT_CLASSES, Entity

__all__ = ["Call", "Taxonomy", "classify", "holds_credentials", "tool_class"]

#: Tools of known agents by class; names in lower case, each once.
_TOOLS: dict[str, tuple[str, ...]] = {
    "file_read": (
        *("read", "view", "read_file", "read_files", "read_many_files", "ls", "glob", "grep", "lsp", "list_directory"),
        *("list_dir", "list_files", "grep_files", "grep_search", "search_file_content", "file_search", "find_files"),
        *("find", "rg", "search", "codebase_search", "code_search", "semantic_search", "search_files", "search_code"),
        *("get_file", "open_file", "cat", "view_image", "view_file", "show_file", "notebookread", "read_notebook"),
        *("readfile", "listdir", "list_code_usages", "list_code_definition_names", "get_errors", "get_changed_files"),
        *("read_lints", "diagnostics", "image", "pdf", "memory_get", "memory_search", "get_memory", "read_memory"),
        *("get_internal_docs", "fetch_copilot_cli_documentation", "search_code_subagent", "codebase_investigator"),
        *("copilot_getnotebooksummary", "read_notebook_cell_output", "get_search_view_results", "read_project_structure"),
    ),
    "file_write": (
        *("write", "edit", "multiedit", "apply_patch", "replace", "str_replace", "write_file", "notebookedit"),
        *("edit_file", "str_replace_editor", "str_replace_based_edit_tool", "edit_notebook_file", "edit_notebook"),
        *("insert_edit_into_file", "replace_in_file", "replace_string_in_file", "multi_replace_string_in_file"),
        *("write_to_file", "insert", "append_file", "search_replace", "apply_diff", "strreplace", "file_change"),
        *("save_memory", "store_memory", "memory", "update_memory", "move_file", "rename_file", "smart_edit", "undo_edit"),
    ),
    "file_create": ("create_file", "create", "create_directory", "mkdir", "create_new_jupyter_notebook"),
    "file_delete": ("delete_file", "delete", "remove_file", "delete_path"),
    "network_request": (
        *("webfetch", "web_fetch", "websearch", "web_search", "web_search_call", "google_web_search", "web.run"),
        *("fetch", "fetch_url", "fetch_webpage", "http_get", "http_post", "http_request", "x_search", "browser"),
        *("open_simple_browser", "github_repo", "message", "send_email", "sendemail", "pushnotification", "senduserfile"),
        *("remotetrigger", "artifact", "gateway", "nodes", "url_fetch", "download", "web", "open_browser", "tts"),
    ),
    "shell_exec": (
        *("bash", "shell", "exec_command", "run_shell_command", "local_shell_call", "local_shell", "shell_command"),
        *("container.exec", "unified_exec", "command_execution", "write_stdin", "exec", "process", "terminal"),
        *("shell_exec", "execute_command", "run_command", "run_terminal_cmd", "run_in_terminal", "runinterminal"),
        *("get_terminal_output", "terminal_last_command", "terminal_selection", "create_and_run_task"),
        *("bashoutput", "bash_output", "killshell", "killbash", "kill_shell", "taskoutput", "taskstop", "monitor"),
        *("read_bash", "write_bash", "stop_bash", "list_bash", "powershell", "read_powershell", "write_powershell"),
        *("stop_powershell", "list_powershell", "execute", "run", "run_build", "run_tests", "runtests", "run_task"),
        *("python", "execute_code", "code_execution", "code_interpreter", "js_repl", "js_repl_reset", "repl", "ipython"),
        *("run_notebook_cell", "run_vscode_command", "test_failure", "test_sync_tool", "enterworktree", "exitworktree"),
        *("install_extension", "install_python_packages", "configure_python_environment", "background_process"),
    ),
    "agent_spawn": (
        *("task", "agent", "spawn_agent", "spawn_agents", "spawn_agents_on_csv", "report_agent_job_result"),
        *("wait_agent", "close_agent", "resume_agent", "send_input", "send_message", "followup_task", "assign_task"),
        *("list_agents", "read_agent", "write_agent", "agentoutput", "agentoutputtool", "wait", "runsubagent"),
        *("sendmessage", "teamcreate", "teamdelete", "workflow", "subagent", "subagents", "sessions_spawn"),
        *("sessions_send", "sessions_list", "sessions_history", "sessions_yield", "session_status", "agents_list"),
        *("delegate_to_agent", "delegate", "dispatch_agent", "new_task", "multi_agents", "complete_task"),
    ),
    "plan": (
        *("todowrite", "todoread", "update_plan", "skill", "slashcommand", "taskcreate", "taskupdate", "tasklist"),
        *("taskget", "exitplanmode", "enterplanmode", "exit_plan_mode", "enter_plan_mode", "toolsearch", "tool_search"),
        *("tool_suggest", "write_todos", "todo", "todo_write", "todo_read", "update_todo", "update_todos"),
        *("manage_todo_list", "manage_todos", "activate_skill", "report_intent", "report_progress", "update_topic"),
        *("think", "sequentialthinking", "plan", "propose_work", "task_complete", "attempt_completion", "code_review"),
        *("reportfindings", "croncreate", "crondelete", "cronlist", "cron", "schedulewakeup", "heartbeat_respond"),
        *("create_goal", "update_goal", "get_goal", "tracker_create_task", "tracker_update_task", "tracker_list_tasks"),
        *("waitformcpservers", "plan_mode_respond", "switch_mode", "sleep", "current_time", "new_context"),
        *("structuredoutput", "canvas", "multi_tool_use.parallel", "context_compaction", "get_project_setup_info"),
        *("artifacts", "enter_worktree", "exit_worktree"),
    ),
    "approval": (
        *("askuserquestion", "ask_user", "ask_user_question", "ask_questions", "ask_followup_question"),
        *("request_user_input", "request_permissions", "request_plugin_install", "confirm", "elicitation"),
    ),
    "api_call": (
        *("listmcpresources", "listmcpresourcestool", "readmcpresource", "readmcpresourcetool", "readmcpresourcedirtool"),
        *("list_mcp_resources", "list_mcp_resource_templates", "read_mcp_resource", "use_mcp_tool", "mcp_tool_call"),
        *("access_mcp_resource", "mcp", "sql", "reply_to_comment", "designsync", "shareonboardingguide"),
        *("get_vscode_api", "vscode_searchextensions_internal", "list_available_plugins_to_install"),
    ),
    "model_call": ("image_generation", "image_generation_call", "image_generate", "music_generate", "video_generate"),
}  # fmt: skip

_CLASS_OF_TOOL = {tool: name for name, tools in _TOOLS.items() for tool in tools}

#: Names that frameworks put before their own tools: ``functions.shell`` is ``shell``.
_OWN = frozenset(
    {"functions", "function", "default_api", "tools", "tool", "core", "builtin", "container", "multi_agent",
     "multi_agent_v1", "multi_agent_v2", "collab", "agent", "agents", "web", "file", "shell", "workspace"}
)  # fmt: skip
_SERVER_TOOL = re.compile(r"[a-z0-9.]+(?:-[a-z0-9]+)*-[a-z0-9]+(?:_[a-z0-9]+)+\Z")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

#: What the words of an unknown name say: (all of these groups, one word each) gives the class.
_FILE = frozenset({"file", "files", "dir", "directory", "directories", "folder", "folders", "path", "document", "notebook", "code", "codebase", "lines"})  # fmt: skip
_READING = frozenset({"read", "view", "get", "open", "cat", "list", "search", "find", "grep", "glob", "show", "load", "lookup", "inspect"})  # fmt: skip
_WRITING = frozenset({"write", "edit", "update", "replace", "insert", "modify", "append", "patch", "save", "move", "rename", "copy"})  # fmt: skip
_HINTS: tuple[tuple[str, frozenset[str], frozenset[str] | None], ...] = (
    ("file_delete", frozenset({"delete", "remove", "unlink", "rm"}), _FILE),
    ("file_create", frozenset({"create", "make", "new", "mkdir"}), _FILE),
    ("file_write", _WRITING, _FILE),
    ("file_read", _READING, _FILE),
    ("shell_exec", frozenset({"bash", "shell", "terminal", "powershell", "cmd", "command", "exec", "subprocess"}), None),
    ("approval", frozenset({"ask", "approve", "approval", "confirm", "permission", "permissions"}), None),
    ("plan", frozenset({"todo", "todos", "plan", "think", "thinking", "skill", "skills"}), None),
    ("agent_spawn", frozenset({"agent", "agents", "subagent", "subagents"}), None),
    ("network_request", frozenset({"browser", "web", "http", "https", "url", "webpage", "fetch", "download", "upload", "internet", "email", "mail"}), None),  # fmt: skip
)  # fmt: skip

_SHELL_ARGUMENTS = (
    "command",
    "cmd",
    "script",
    "commandline",
    "command_line",
    "commandLine",
    "chars",
    "input",
    "code",
)
#: Tools whose ``command`` is a verb of their own, not a shell's.
_EDITORS = frozenset({"str_replace_editor", "str_replace_based_edit_tool", "memory"})
_EDITOR_COMMANDS = {
    "view": "file_read",
    "create": "file_create",
    "delete": "file_delete",
}
_PATCHES = frozenset({"apply_patch"})
_SPECIAL = _EDITORS | _PATCHES | {"web_fetch"}
#: Tools whose input is code, and only then a command when it stands under its own name.
_POWERSHELLS = frozenset({"powershell", "write_powershell", "read_powershell", "cmd"})

_PATHS = frozenset(
    {"path", "file_path", "filepath", "filename", "file", "notebook_path", "dir_path", "dirpath", "directory",
     "absolute_path", "relative_path", "target_file", "target_path", "source", "destination", "source_path",
     "destination_path", "paths", "file_paths", "files", "old_path", "new_path", "folder", "attachments", "include_path"}
)  # fmt: skip
_TARGETS = frozenset({"destination", "destination_path", "target_path", "new_path", "target_file"})
_URLS = frozenset(
    {"url", "urls", "uri", "endpoint", "base_url", "webhook", "webhook_url", "href", "link", "website"}
)
_RECIPIENTS = frozenset(
    {"to", "cc", "bcc", "recipient", "recipients", "email", "emails", "email_address", "user_email", "phone_number",
     "channel", "channels", "channel_id", "channel_name", "chat_id", "participants", "attendees", "invitees", "target",
     "to_email", "recipient_email", "mailto"}
)  # fmt: skip
_ACCOUNTS = frozenset(
    {"iban", "account", "account_id", "account_number", "recipient_account", "to_account", "from_account",
     "payee", "beneficiary", "wallet", "wallet_address", "bic", "routing_number"}
)  # fmt: skip


def _spellings(names: frozenset[str], kind: str) -> dict[object, str]:
    # file_path is filePath in JavaScript.
    camel = {head + "".join(map(str.title, rest)) for head, *rest in (name.split("_") for name in names)}
    return dict.fromkeys(names | camel, kind)


_KIND_OF_ARGUMENT = (
    _spellings(_PATHS, "path")
    | _spellings(_TARGETS, "target")
    | _spellings(_URLS, "url")
    | _spellings(_RECIPIENTS, "recipient")
    | _spellings(_ACCOUNTS, "account")
)
_BODIES = frozenset({"body", "data", "payload", "json", "form", "content", "upload"})
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{10,30}\Z")
#: Words of a tool's name that say that data leaves by it.
_SENDS = frozenset(
    {"send", "post", "put", "upload", "publish", "push", "create", "update", "submit", "write", "share", "invite", "add",
     "delete", "pay", "transfer", "schedule", "reply", "forward", "comment", "patch", "set", "edit", "remove", "merge",
     "message", "broadcast", "notify", "make", "execute", "type", "fill"}
)  # fmt: skip

#: Longest name of a tool that is looked up; what is longer would only fill the cache.
_MAX_NAME = 256
#: Longest command line whose result is kept, and how many are.
_MAX_KEPT = 1024
_KEPT = 2048
#: Values of one argument that are looked at, and members of the arguments.
_MAX_ITEMS = 64
_MAX_TEXT = 131_072


class Call(NamedTuple):
    """What a tool call does.

    ``event_class`` is one of ``event.EVENT_CLASSES``. ``entities`` are at most 16, where data could leave
    first, each value at most 256 characters. ``commands`` are the verbs of a command line in order, each once,
    at most 16: ``git push``, ``sed``.
    """

    event_class: str
    entities: tuple[Entity, ...] = ()
    commands: tuple[str, ...] = ()


class _Traits(NamedTuple):
    """What is known of a tool by its name: ``short`` is the name without what stands before its last dot."""

    event_class: str
    short: str
    is_windows: bool
    is_sending: bool


_NO_TRAITS = _Traits("tool_call", "", is_windows=False, is_sending=False)


class Taxonomy:
    """The classes of tool calls; ``extra`` adds to what is built in.

    ``extra`` has up to three members::

        {
            "tools": {"my_tool": "file_read", "acme_*": "api_call"},     # `*` and `?` match, case does not
            "verbs": {"deployctl": "network_request", "deployctl status": "file_read"},
            "credential_paths": ["*/vault/*.json"],                     # `*` matches `/` too
        }

    Raises ``ConfigError`` naming the key where a member, a class or a pattern is off.
    """

    def __init__(self, extra: Mapping[str, Any] | None = None, key: str = "taxonomy") -> None:
        extra = extra or {}
        for name in extra:
            if name not in _MEMBERS:
                raise ConfigError(f"{key}: there is no `{name}`", hint=_nearest(name, _MEMBERS))
        tools = _classes(extra.get("tools", {}), f"{key}.tools")
        verbs = _classes(extra.get("verbs", {}), f"{key}.verbs")
        self._exact = {
            name.lower(): event_class for name, event_class in tools.items() if not _is_pattern(name)
        }
        self._patterns = [
            (re.compile(_glob(name.lower())), event_class)
            for name, event_class in tools.items()
            if _is_pattern(name)
        ]
        self._is_secret = _secret_path(extra.get("credential_paths", ()), f"{key}.credential_paths")
        self._commands = Commands(verbs)
        self._traits = lru_cache(4096)(self._find_traits)
        self._judge_kept = lru_cache(_KEPT)(self._judge)

    def tool_class(self, tool: str) -> str:
        """Return the event class of a tool by its name alone; ``tool_call`` where the name says nothing."""
        is_name = isinstance(tool, str) and len(tool) <= _MAX_NAME
        return self._traits(tool).event_class if is_name else "tool_call"

    def classify(self, tool: str, arguments: object) -> Call:
        """Return what a call does. ``arguments`` are decoded: an object by name, a command line, its words."""
        traits = self._traits(tool) if isinstance(tool, str) and len(tool) <= _MAX_NAME else _NO_TRAITS
        name = traits.event_class
        if name == "shell_exec":
            command = _command_of(arguments)
            if command is not None:
                if isinstance(command, str) and len(command) <= _MAX_KEPT:
                    return self._judge_kept(command, traits.is_windows)
                return self._judge(command, traits.is_windows)
        found = Findings(self._is_secret)
        if type(arguments) is dict or isinstance(arguments, Mapping):
            name = _look(traits, arguments, found)
        elif isinstance(arguments, str) and traits.short in _PATCHES:
            name = class_of(patch_rank(arguments[:_MAX_TEXT], found))
        if found.has_credentials:
            name = "credential_access"
        return Call(name, found.entities())

    def holds_credentials(self, path: str) -> bool:
        """Say whether a path, however it is spelled, leads to a file of credentials."""
        return Findings(self._is_secret).is_secret(path)

    def _find_traits(self, tool: str) -> _Traits:
        short = tool.strip().lower().rpartition(".")[2]
        return _Traits(self._find_class(tool), short, short in _POWERSHELLS, _sends(tool))

    def _find_class(self, tool: str) -> str:
        name = tool.strip().lower()
        found = self._exact.get(name)
        if found is not None:
            return found
        for pattern, event_class in self._patterns:
            if pattern.match(name):
                return event_class
        return _built_in(name, tool)

    def _judge(self, command: str | list[str], is_windows: bool) -> Call:  # noqa: FBT001
        found = Findings(self._is_secret)
        name, verbs = self._commands.judge(command, found, is_windows=is_windows)
        return Call(name, found.entities(), verbs)


def _look(tool: _Traits, arguments: Mapping[Any, Any], found: Findings) -> str:
    """Return the class of a call to a tool that is no shell; note what its arguments name."""
    name = tool.event_class
    if tool.short in _SPECIAL:
        if tool.short in _EDITORS:
            name = _EDITOR_COMMANDS.get(str(arguments.get("command"))[:16], name)
        elif tool.short in _PATCHES:
            patch = arguments.get("input", arguments.get("patch"))
            if isinstance(patch, str):
                return class_of(patch_rank(patch[:_MAX_TEXT], found))
        elif isinstance(arguments.get("prompt"), str):
            found.reaches_urls(arguments["prompt"][:_MAX_TEXT], "source")
    members = arguments.items() if len(arguments) <= _MAX_ITEMS else islice(arguments.items(), _MAX_ITEMS)
    for key, value in members:
        if type(value) is dict:
            # One level down: MCP clients wrap what they pass on.
            for inner_key, inner_value in islice(value.items(), _MAX_ITEMS):
                _look_at(tool, name, inner_key, inner_value, value, found)
        else:
            _look_at(tool, name, key, value, arguments, found)
    return name


def _look_at(
    tool: _Traits, name: str, key: object, value: object, arguments: Mapping[Any, Any], found: Findings
) -> None:
    kind = _KIND_OF_ARGUMENT.get(key)
    if kind is None:
        return
    for text in (value,) if type(value) is str else _texts(value):
        if kind == "path" or kind == "target":
            _touch(name, text, found, is_target=kind == "target")
        elif kind == "url":
            if text.startswith("file://"):
                found.reads(text[7:])
            else:
                is_sink = (tool.is_sending and name in _REMOTE) or _posts(arguments)
                found.reaches(text, "sink" if is_sink else "source")
        elif kind == "account":
            role = "source" if str(key).startswith("from") else "sink"
            found.add("account", role, text.replace(" ", "").lower())
        elif name in _REMOTE:
            is_account = _IBAN.match(text[:64].replace(" ", "")) is not None
            found.sends_to(text, "account" if is_account else "recipient")


def _touch(name: str, path: str, found: Findings, *, is_target: bool) -> None:
    if name in ("file_write", "file_create") or (is_target and name != "file_read"):
        found.writes(path)
    elif name == "file_delete":
        found.deletes(path)
        found.has_credentials |= found.is_secret(path)
    else:
        found.reads(path)


_MEMBERS = ("tools", "verbs", "credential_paths")
#: Classes of tools by which data can leave to somebody.
_REMOTE = frozenset({"network_request", "api_call", "tool_call", "other", "model_call"})


def _built_in(name: str, tool: str) -> str:
    known = _CLASS_OF_TOOL.get(name)
    if known is not None:
        return known
    if name.startswith("browser_"):
        return "network_request"
    if name.startswith(("mcp__", "mcp_")) or "__" in name:
        return "api_call"
    before, separator, last = name.rpartition(".")
    if separator:
        known = _CLASS_OF_TOOL.get(last) or _CLASS_OF_TOOL.get(f"{before.rpartition('.')[2]}_{last}")
        is_own = before.partition(".")[0] in _OWN
        if is_own:
            return known or _by_words(tool)
        return "api_call" if before and last else _by_words(tool)
    before, separator, last = name.rpartition("/")
    if separator and before and last:
        return "api_call"
    if "-" in name:
        known = _CLASS_OF_TOOL.get(name.replace("-", "_"))
        if known is not None:
            return known
        if _SERVER_TOOL.match(name):
            return "api_call"
    return _by_words(tool)


def _by_words(tool: str) -> str:
    words = {word.lower() for word in _WORD.findall(tool)}
    for name, first, second in _HINTS:
        if not words.isdisjoint(first) and (second is None or not words.isdisjoint(second)):
            return name
    return "tool_call"


def _command_of(arguments: object) -> str | list[str] | None:
    if isinstance(arguments, str):
        # Code, or what is typed into a program, when it is no command line: the lexer takes all.
        return arguments or None
    if isinstance(arguments, list):
        return _argv(arguments)
    if not isinstance(arguments, Mapping):
        return None
    action = arguments.get("action")
    if isinstance(action, Mapping):
        arguments = action
    for key in _SHELL_ARGUMENTS:
        value = arguments.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list):
            words = _argv(value)
            if words:
                more = arguments.get("args")
                return words + _argv(more) if isinstance(more, list) else words
    return None


def _argv(words: list[Any]) -> list[str]:
    return [word for word in words[:4096] if isinstance(word, str)]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value[:_MAX_ITEMS]:
            if isinstance(item, str):
                yield item
            elif isinstance(item, Mapping):
                for key in ("email", "path", "file_path", "address", "id", "url"):
                    inner = item.get(key)
                    if isinstance(inner, str):
                        yield inner
                        break


def _sends(tool: str) -> bool:
    return not _SENDS.isdisjoint(word.lower() for word in _WORD.findall(tool.rpartition("__")[2]))


def _posts(arguments: Mapping[Any, Any]) -> bool:
    method = arguments.get("method")
    if isinstance(method, str) and method.upper() in ("POST", "PUT", "PATCH", "DELETE"):
        return True
    return any(key in arguments for key in _BODIES) and not isinstance(method, str)


def _classes(table: object, key: str) -> dict[str, str]:
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"{key} must be a table of names and event classes", hint=f'{key} = {{name = "file_read"}}'
        )
    for name, event_class in table.items():
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"{key}: a name is empty")
        if event_class not in EVENT_CLASSES:
            raise ConfigError(
                f"{key}.{name}: there is no event class {event_class!r}",
                hint=_nearest(str(event_class), EVENT_CLASSES),
            )
    return dict(table)


def _nearest(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(known)}"


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _glob(pattern: str) -> str:
    # Atomic groups: a pattern with many stars stays linear in its stars and in the text.
    first, *rest = (re.escape(part).replace(r"\?", ".") for part in re.sub(r"\*+", "*", pattern).split("*"))
    if not rest:
        return f"(?s:{first})\\Z"
    *middle, last = rest
    return f"(?s:{first}{''.join(f'(?>.*?{part})' for part in middle)}.*{last})\\Z"


def _secret_path(patterns: object, key: str) -> SecretPath:
    if not isinstance(patterns, (list, tuple)):
        raise ConfigError(f"{key} must be a list of patterns", hint=f'{key} = ["*/vault/*.json"]')
    if not patterns:
        return is_secret
    globs: list[str] = []
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.strip("*?/ "):
            raise ConfigError(f"{key}: {pattern!r} would match every path", hint='"*/vault/*.json"')
        lower = pattern.lower().replace("\\", "/").removeprefix("~")
        globs.append(
            _glob(lower if lower[0] in "/*" and not pattern.startswith("~") else f"*/{lower.lstrip('/')}")
        )
    compiled = re.compile("|".join(globs))
    match: Callable[[str], object] = compiled.match

    def is_secret_path(normal: str) -> bool:
        if is_secret(normal):
            return True
        return (
            len(normal) <= 4096 and match((normal if normal[:1] == "/" else f"/{normal}").lower()) is not None
        )

    return is_secret_path


_DEFAULT = Taxonomy()


def tool_class(tool: str) -> str:
    """Return the event class of a tool by its name alone; ``tool_call`` where the name says nothing."""
    return _DEFAULT.tool_class(tool)


def classify(tool: str, arguments: object) -> str:
    """Return the event class of a tool call by what is built in."""
    return _DEFAULT.classify(tool, arguments).event_class
