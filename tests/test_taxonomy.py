"""What tool calls do: their class and what they touch, from the tool's name and its arguments."""

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shell_texts import SHELL_TEXTS

from sentineld.credentials import is_harmless, is_secret
from sentineld.entities import MAX_ENTITIES, MAX_VALUE
from sentineld.errors import ConfigError
from sentineld.event import EVENT_CLASSES
from sentineld.taxonomy import Taxonomy, classify, holds_credentials, tool_class
from sentineld.tools import TOOLS

TAXONOMY = Taxonomy()


def touched(tool, arguments):
    """Return the entities of a call: ``kind<value`` a source, ``kind>value`` a sink."""
    call = TAXONOMY.classify(tool, arguments)
    return [f"{kind}{'<' if role == 'source' else '>'}{value}" for kind, role, value in call.entities]


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("Read", "file_read"),
        ("read_file", "file_read"),
        ("Grep", "file_read"),
        ("MultiEdit", "file_write"),
        ("apply_patch", "file_write"),
        ("create_file", "file_create"),
        ("delete_file", "file_delete"),
        ("WebFetch", "network_request"),
        ("browser_navigate", "network_request"),
        ("Bash", "shell_exec"),
        ("exec_command", "shell_exec"),
        ("functions.exec_command", "shell_exec"),
        ("container.exec", "shell_exec"),
        ("BashOutput", "shell_exec"),
        ("KillShell", "shell_exec"),
        ("mcp__github__create_issue", "api_call"),
        ("mcp__ide__executeCode", "api_call"),
        ("mcp_github_list_issues", "api_call"),
        ("github__create_issue", "api_call"),
        ("linear.create_issue", "api_call"),
        ("github-mcp-server-list_issues", "api_call"),
        ("terraform/search_modules", "api_call"),
        ("ReadMcpResourceTool", "api_call"),
        ("Task", "agent_spawn"),
        ("multi_agent_v1.spawn_agent", "agent_spawn"),
        ("TodoWrite", "plan"),
        ("ExitPlanMode", "plan"),
        ("ToolSearch", "plan"),
        ("report_intent", "plan"),
        ("AskUserQuestion", "approval"),
        ("request_user_input", "approval"),
        ("str-replace-editor", "file_write"),
        # Names that nobody listed say something by their words.
        ("readConfigFile", "file_read"),
        ("update_source_file_v2", "file_write"),
        ("CreateNewFolder", "file_create"),
        ("remove_directory", "file_delete"),
        ("runShellCommandAsync", "shell_exec"),
        ("fetch_web_page", "network_request"),
        ("launch_subagent", "agent_spawn"),
        ("ApplyPatch", "file_write"),
        ("SemanticSearch", "file_read"),
        ("copilot_replaceString", "file_write"),
        ("developer__shell", "shell_exec"),
        ("web__search", "api_call"),
        ("text_editor_20250728", "file_write"),
        ("frobnicate", "tool_call"),
        ("", "tool_call"),
        (".", "tool_call"),
        ("read" * 1000, "tool_call"),
    ],
)
def test_a_tool_has_its_class_whatever_its_case(tool, expected):
    assert tool_class(tool) == expected
    assert tool_class(tool.swapcase() if tool.islower() else tool) == expected


#: Tools that agents document or write, by agent.
KNOWN = {
    "claude code": "Agent Artifact AskUserQuestion Bash BashOutput CronCreate CronDelete CronList"
    " DesignSync Edit EnterPlanMode EnterWorktree ExitPlanMode ExitWorktree Glob Grep"
    " KillShell LS LSP ListMcpResources ListMcpResourcesTool Monitor MultiEdit"
    " NotebookEdit NotebookRead PowerShell PushNotification Read ReadMcpResourceDirTool"
    " ReadMcpResourceTool RemoteTrigger ReportFindings ScheduleWakeup SendMessage"
    " SendUserFile ShareOnboardingGuide Skill SlashCommand StructuredOutput Task"
    " TaskCreate TaskGet TaskList TaskOutput TaskStop TaskUpdate TeamCreate TeamDelete"
    " TodoRead TodoWrite ToolSearch WaitForMcpServers WebFetch WebSearch Workflow Write"
    " mcp__linear-server__create_issue",
    "codex": "apply_patch artifacts close_agent container.exec current_time exec exec_command"
    " followup_task get_memory grep_files image_generation js_repl js_repl_reset list_agents"
    " list_dir list_mcp_resource_templates list_mcp_resources local_shell local_shell_call"
    " read_file read_mcp_resource report_agent_job_result request_permissions"
    " request_plugin_install request_user_input resume_agent send_input send_message shell"
    " shell_command spawn_agent spawn_agents_on_csv test_sync_tool tool_search tool_suggest"
    " update_plan view_image wait wait_agent web_search web_search_call write_stdin",
    "gemini cli": "activate_skill ask_user cli_help codebase_investigator complete_task enter_plan_mode"
    " exit_plan_mode generalist get_internal_docs glob google_web_search grep_search"
    " list_directory read_file read_many_files replace run_shell_command save_memory"
    " search_file_content tracker_create_task update_topic web_fetch write_file write_todos",
    "copilot": "apply_patch ask_user bash create create_file edit edit_notebook_file"
    " fetch_copilot_cli_documentation fetch_webpage file_search get_errors glob grep"
    " grep_search insert insert_edit_into_file list_agents list_bash list_code_usages list_dir"
    " list_powershell manage_todo_list powershell read_agent read_bash read_file"
    " read_powershell replace_string_in_file reply_to_comment report_intent report_progress rg"
    " run_in_terminal runSubagent semantic_search show_file skill sql stop_bash store_memory"
    " str_replace str_replace_editor task task_complete think update_todo view web_fetch"
    " web_search write_agent write_bash github-mcp-server-list_issues run_build code_search"
    " get_file",
    "opencode": "apply_patch bash batch codesearch edit glob grep invalid list lsp_diagnostics lsp_hover"
    " multiedit patch plan_enter plan_exit question read skill task todoread todowrite webfetch"
    " websearch write",
    "goose": "analyze delegate developer__image_processor developer__list_windows"
    " developer__screen_capture developer__shell developer__text_editor load tree",
    "cursor": "CallMcpTool EditNotebook FetchMcpResource GenerateImage ReadLints SemanticSearch Shell"
    " StrReplace WebFetch codebase_search create_diagram create_plan delete_file diff_history"
    " edit_file fetch_rules file_search glob_file_search read_lints reapply run_terminal_cmd"
    " search_replace switch_mode todo_write update_memory web_search",
    "kiro, amazon q": "executeBash executePwsh execute_bash fileSearch fsAppend fsWrite fs_read fs_write"
    " getDiagnostics grepSearch introspect invokeSubAgent knowledge listDirectory listProcesses"
    " readMultipleFiles remoteWebSearch report_issue semanticRename smartRelocate strReplace"
    " taskStatus thinking todo_list use_aws userInput",
    "openclaw, pi": "agents_list apply_patch bash browser canvas code_execution cron edit exec find"
    " gateway grep heartbeat_respond image image_generate ls memory_get memory_search"
    " message nodes pdf process read session_status sessions_history sessions_list"
    " sessions_send sessions_spawn sessions_yield shell_exec subagents tts web_fetch"
    " web_search write x_search",
}


@pytest.mark.parametrize("agent", KNOWN)
def test_no_tool_of_a_known_agent_is_unknown(agent):
    assert [tool for tool in KNOWN[agent].split() if tool_class(tool) in {"tool_call", "other"}] == []


def test_every_class_of_the_table_is_known_and_no_tool_has_two():
    tools = [tool for names in TOOLS.values() for tool in names]

    assert set(TOOLS) <= set(EVENT_CLASSES)
    assert len(tools) == len(set(tools))
    assert all(tool == tool.lower() for tool in tools)
    classes = {}
    for event_class, names in TOOLS.items():
        for tool in names:
            assert classes.setdefault(tool.replace("_", ""), event_class) == event_class, tool


@pytest.mark.parametrize(
    "path",
    [
        "/home/me/.ssh/id_rsa",
        "~/.ssh/id_ed25519",
        ".ssh/work_key",
        "/root/.aws/credentials",
        ".env",
        "app/.env.production",
        "app/.env.local",
        "app/.env.production.local",
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/shadow-",
        "/etc//shadow",
        "/etc/./shadow",
        "/etc/ssl/../shadow",
        "server.pem",
        "keys/private.pem",
        "~/.netrc",
        "~/.pgpass",
        "~/.docker/config.json",
        "~/.kube/config",
        "~/.git-credentials",
        "~/.npmrc",
        "~/.pypirc",
        "~/.config/gcloud/application_default_credentials.json",
        "~/.azure/msal_token_cache.json",
        "~/.config/gh/hosts.yml",
        "~/.claude/.credentials.json",
        "~/.codex/auth.json",
        "service-account-prod.json",
        "tls/server.key",
        "x.kdbx",
        "/proc/self/environ",
        "/run/secrets/db_password",
        "/etc/ssh/ssh_host_ed25519_key",
        "~/Library/Keychains/login.keychain-db",
        "~/Library/Application Support/Google/Chrome/Default/Login Data",
        "~/.mozilla/firefox/x.default/logins.json",
        "C:\\Users\\me\\.ssh\\id_rsa",
        "C:\\Windows\\System32\\config\\SAM",
        "/HOME/ME/.SSH/ID_RSA",
        " /etc/shadow ",
    ],
)
def test_a_path_to_credentials_is_credential_access_whatever_reads_it(path):
    assert holds_credentials(path)
    assert classify("Read", {"file_path": path}) == "credential_access"
    assert classify("mcp__fs__read_file", {"path": path}) == "credential_access"
    assert classify("read_many_files", {"paths": ["a.py", path]}) == "credential_access"


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        "app/.env.sample",
        ".env.template",
        ".env.dist",
        "docs/.env.md",
        "docs/environment.md",
        "src/.envrc.md",
        "/home/me/.ssh/known_hosts",
        "/home/me/.ssh/config",
        "/home/me/.ssh/authorized_keys",
        "/home/me/.ssh/id_rsa.pub",
        "/home/me/.ssh/",
        "certs/fullchain.pem",
        "/etc/ssl/certs/ca-bundle.pem",
        "cert.pem",
        "public.pem",
        "the shadow branch holds the id_rsa of nobody",
        "read /etc/shadow",
        "read /etc/shadow and tell me what it says",
        "look at .env please",
        "shadow",
        "src/etc/shadow.py",
        "src/credentials.py",
        "internal/secrets/vault.go",
        "Cookies",
        "a/" * 4000 + ".env",
        "",
    ],
)
def test_prose_samples_and_public_keys_are_not_credentials(path):
    assert not holds_credentials(path)
    assert classify("Read", {"file_path": path}) == "file_read"


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        # What an agent writes into a .env file, it knows; what it edits there is shown to it.
        ("Write", {"file_path": ".env"}, "file_write"),
        ("Write", {"file_path": "~/.ssh/id_rsa"}, "credential_access"),
        ("delete_file", {"path": ".env"}, "file_delete"),
        ("WebFetch", {"url": "http://169.254.169.254/latest/meta-data"}, "credential_access"),
        ("Grep", {"pattern": "\\.env", "path": "src"}, "file_read"),
        ("Grep", {"pattern": "KEY", "path": ".env"}, "credential_access"),
        ("Glob", {"pattern": "**/.env"}, "file_read"),
        ("str_replace_editor", {"command": "view", "path": "a"}, "file_read"),
        ("str_replace_editor", {"command": "create", "path": "a"}, "file_create"),
        ("str_replace_editor", {"command": "str_replace", "path": "a"}, "file_write"),
        ("apply_patch", "*** Begin Patch\n*** Add File: a\n+x\n*** End Patch", "file_create"),
        ("apply_patch", {"input": "*** Delete File: a"}, "file_delete"),
        ("apply_patch", {"input": "*** Update File: a\n*** Move to: b"}, "file_write"),
        ("Bash", {"command": "cat x"}, "file_read"),
        ("Bash", {}, "shell_exec"),
        ("Bash", "rm x", "file_delete"),
        ("bash", {"fullCommandText": "rm x"}, "file_delete"),
        ("run_command", {"CommandLine": "rm x"}, "file_delete"),
        ("Bash", {"bash_command": "curl"}, "network_request"),
        ("Bash", {"bash_command": "curl", "full_command": "curl --version; rm x"}, "file_delete"),
        ("shell", {"command": ["bash", "-lc", "rg x"]}, "file_read"),
        ("shell", {"command": ["cat", "a > b"]}, "file_read"),
        ("shell", {"command": ["cat", "credentials"], "workdir": "/home/me/.aws"}, "credential_access"),
        ("shell", {"command": ["cat", "credentials"], "workdir": "/home/me"}, "file_read"),
        ("local_shell_call", {"action": {"type": "exec", "command": ["rm", "x"]}}, "file_delete"),
        ("exec_command", {"cmd": "curl https://a.b"}, "network_request"),
        ("write_stdin", {"session_id": 1, "chars": "cat ~/.netrc\n"}, "credential_access"),
        ("write_stdin", {"session_id": 1, "chars": "\x03"}, "shell_exec"),
        ("BashOutput", {"bash_id": "1"}, "shell_exec"),
        ("powershell", {"command": "Get-Content C:\\Users\\me\\.aws\\credentials"}, "credential_access"),
        ("execute_code", {"code": "print(open('.env').read())"}, "credential_access"),
        ("execute_code", {"code": "import os; rm = 1 > 2"}, "shell_exec"),
        ("exec", "const x = await tools.exec('ls > y');", "shell_exec"),
        ("exec", {"command": "ls"}, "file_read"),
        ("ApplyPatch", {"input": "*** Delete File: a"}, "file_delete"),
        ("developer__shell", {"command": "cat .env"}, "credential_access"),
        ("developer__shell", {"command": "rm a"}, "file_delete"),
        ("mcp__box__run", {"command": "ls"}, "api_call"),
        ("mcp__box__run", {"command": "cat /etc/shadow"}, "credential_access"),
        ("frobnicate", {"command": "ls"}, "file_read"),
        ("frobnicate", {"command": 7}, "tool_call"),
        ("mcp__x__y", {"arguments": {"path": "/etc/shadow"}}, "credential_access"),
    ],
)
def test_arguments_refine_the_class(tool, arguments, expected):
    assert classify(tool, arguments) == expected


@pytest.mark.parametrize(
    "arguments", [None, "x", 7, [], {}, {"path": None}, {"path": {"x": 1}}, {"text": "/etc/shadow"}, {1: 2}]
)
def test_arguments_of_any_shape_leave_the_class_to_the_tool(arguments):
    assert classify("Write", arguments) == "file_write"


@pytest.mark.parametrize("tool", [None, 7, b"Read", ["Read"]])
def test_what_is_no_name_is_no_known_tool(tool):
    assert classify(tool, {"path": "x"}) == "tool_call"


@pytest.mark.parametrize(
    "key", ["path", "file_path", "filePath", "filename", "file", "notebook_path", "dir_path", "paths"]
)
def test_every_argument_that_names_a_file_is_looked_at(key):
    assert classify("Read", {key: ".env"}) == "credential_access"


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("Read", {"file_path": "/a/./b"}, ["path</a/b"]),
        ("Write", {"file_path": "/a", "content": "https://x.y"}, ["path>/a"]),
        ("mcp__fs__move_file", {"source": "a/b", "destination": "c/d"}, ["path>c/d", "path<a/b"]),
        ("mcp__x__search", {"source": "web", "query": "/etc"}, []),
        ("WebFetch", {"url": "https://Docs.Example.com/x"}, ["host<docs.example.com"]),
        ("fetch", {"url": "https://a.b", "method": "POST"}, ["host>a.b"]),
        ("mcp__x__post_webpage", {"url": "https://a.b", "content": "x"}, ["host>a.b"]),
        ("web_fetch", {"prompt": "sum up https://a.b/c and https://d.e"}, ["host<a.b", "host<d.e"]),
        ("mcp__mail__send_email", {"to": "A@B.com, c@d.org", "cc": ["e@f.net"]},
         ["recipient>a@b.com", "recipient>c@d.org", "recipient>e@f.net"]),
        ("mcp__mail__send_email", {"recipients": [{"email": "a@b.com"}]}, ["recipient>a@b.com"]),
        ("mcp__slack__post_message", {"channel": "#General", "text": "x"}, ["recipient>#general"]),
        ("mcp__bank__send_money", {"recipient": "GB29 NWBK 6016 1331 9268 19", "amount": 1},
         ["account>gb29nwbk60161331926819"]),
        ("mcp__bank__transfer", {"from_account": "1", "iban": "DE02"}, ["account>de02", "account<1"]),
        ("Task", {"to": "x", "description": "y"}, []),
        ("Bash", {"command": "curl -d @f https://a.b"}, ["host>a.b", "path<f"]),
        ("Read", {"file_path": "a\x1b[2J"}, ["path<a\\x1b[2J"]),
    ],
)  # fmt: skip
def test_entities_are_what_arguments_name(tool, arguments, expected):
    assert touched(tool, arguments) == expected


def test_a_call_tells_the_verbs_of_its_command_line():
    assert TAXONOMY.classify("Bash", {"command": "cd x && git push"}).commands == ("cd", "git push")


class TestExtra:
    def test_tools_are_added_and_changed(self):
        tools = {"My_Tool": "file_read", "acme_*": "api_call", "read": "plan", "run_?": "shell_exec"}
        taxonomy = Taxonomy({"tools": tools})

        assert taxonomy.tool_class("my_tool") == "file_read"
        assert taxonomy.tool_class("ACME_anything_at_all") == "api_call"
        assert taxonomy.tool_class("xacme_y") == "tool_call"
        assert taxonomy.tool_class("Read") == "plan"
        assert taxonomy.classify("run_7", {"command": "rm x"}).event_class == "file_delete"
        assert Taxonomy().tool_class("my_tool") == "tool_call"

    def test_verbs_are_added(self):
        taxonomy = Taxonomy({"verbs": {"deployctl": "network_request"}})

        assert taxonomy.classify("Bash", {"command": "deployctl up"}).event_class == "network_request"

    @pytest.mark.parametrize(
        ("pattern", "path", "is_secret"),
        [
            ("*/vault/*.json", "/srv/vault/a.json", True),
            ("*/vault/*.json", "vault/a/b.JSON", True),
            ("*/vault/*.json", "/srv/vault/a.yaml", False),
            ("secrets.yaml", "k8s/secrets.yaml", True),
            ("secrets.yaml", "k8s/my-secrets.yaml", False),
            ("/opt/key?", "/opt/key1", True),
            ("/opt/key?", "/x/opt/key1", False),
            ("~/.acme", "/home/me/.acme", True),
            ("a.b", "axb", False),
        ],
    )
    def test_paths_of_credentials_are_added(self, pattern, path, is_secret):
        taxonomy = Taxonomy({"credential_paths": [pattern]})

        assert taxonomy.holds_credentials(path) is is_secret
        is_access = taxonomy.classify("Bash", {"command": f"cat {path}"}).event_class == "credential_access"
        assert is_access is is_secret
        assert taxonomy.holds_credentials(".env")

    @pytest.mark.parametrize(
        ("extra", "message", "hint"),
        [
            ({"tool": {}}, "taxonomy: there is no `tool`", "did you mean tools?"),
            ({"tools": []}, "taxonomy.tools must be a table", "file_read"),
            ({"tools": {"x": "file_raed"}}, "taxonomy.tools.x: there is no event class", "mean file_read?"),
            ({"verbs": {"x": "zzz"}}, "taxonomy.verbs.x: there is no event class", "one of: file_create"),
            ({"verbs": {"x": 7}}, "taxonomy.verbs.x: there is no event class 7", "one of"),
            ({"verbs": {" ": "plan"}}, "taxonomy.verbs: a name is empty", ""),
            ({"credential_paths": "x"}, "taxonomy.credential_paths must be a list", "vault"),
            ({"credential_paths": ["*"]}, "taxonomy.credential_paths: '*' would match every path", "vault"),
        ],
    )  # fmt: skip
    def test_mistakes_name_the_key_and_what_was_meant(self, extra, message, hint):
        with pytest.raises(ConfigError) as caught:
            Taxonomy(extra)

        assert message in str(caught.value)
        assert hint in caught.value.hint


ARGUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | SHELL_TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["command", "cmd", "path", "url", "to", "iban", "code", "action", "input", "method", "x"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
NAMES = st.sampled_from([*(tool for tools in TOOLS.values() for tool in tools), "mcp__a__b"]) | st.text(
    max_size=20
)


@given(NAMES, ARGUMENTS)
def test_any_call_is_classified_without_failing_always_alike_and_bounded(tool, arguments):
    call = TAXONOMY.classify(tool, arguments)

    assert TAXONOMY.classify(tool, arguments) == call == Taxonomy().classify(tool, arguments)
    assert call.event_class in EVENT_CLASSES
    assert len(call.entities) <= MAX_ENTITIES
    assert all(len(entity.value) <= MAX_VALUE and entity.value.isprintable() for entity in call.entities)
    assert len(call.commands) <= 16
    hash(call)


SECRET_PARTS = [
    ".env", ".ENV.local", "id_rsa", "ID_ED25519_sk", "key.PEM", "server.key", ".netrc", "_netrc",
    ".yarnrc.yml", "rclone.conf", "key3.db", "credentials.json", "client_secret_1.json", ".ssh", "config",
    "known_hosts", "etc", "ssh", "ssh_host_rsa_key", "shadow", "gshadow-", "security", "passwd",
    "krb5.keytab", "Windows", "System32", "SAM", ".aws", "credentials", "gcloud", "access_tokens.db", "run",
    "secrets", ".docker", "config.json", "gh", "hosts.yml", "github-copilot", "apps.json", "Library",
    "Keychains", "keyrings", "kwalletd", "a.kwl", "AppData", "Local", "Microsoft", "Protect", "proc", "1",
    "environ", "src", "main.go", "Cookies", "Chrome", "notes.md",
]  # fmt: skip


@settings(max_examples=100)
@given(st.lists(st.sampled_from(SECRET_PARTS), min_size=1, max_size=4).map("/".join))
def test_the_quick_look_at_a_path_says_what_the_whole_one_does(path):
    # There is no quick look at a path that is not ASCII.
    assert is_secret(path) == is_secret(f"\u00e9/{path}")


PLACES = [
    "", "/", "/srv/www/", "src/", "./", "../", "/dev/", "~/", "/etc/", "C:\\x\\", "a//b/", "a/./b/", " /x/",
    "/x /",
]  # fmt: skip
NAME_PARTS = [
    "null", "-", ".", "..", "", "x ", " x", "a\\b", "\u212a1", "shadows.txt", "0.5442", "passwords", "x\n",
]  # fmt: skip
#: Patterns of one's own end the glance.
CLOSELY = Taxonomy({"credential_paths": ["/no/such/vault"]})


@example("Read", "/dev/", "null")
@example("Read", "/srv/www/", "\u212a1")
@example("Read", "/etc/", "shadow")
@given(
    st.sampled_from(["Read", "Write", "Edit", "delete_file", "mcp__a__b", "network_request"]),
    st.sampled_from(PLACES),
    st.lists(st.sampled_from(SECRET_PARTS + NAME_PARTS), min_size=1, max_size=3).map("/".join)
    | st.text(max_size=6),
)
def test_a_call_that_names_a_harmless_path_is_told_as_one_that_is_looked_at_closely(tool, place, name):
    assert TAXONOMY.classify(tool, {"path": place + name}) == CLOSELY.classify(tool, {"path": place + name})


def test_a_glance_is_enough_for_usual_paths_and_remembers_no_path():
    assert not is_harmless("/srv/www/\u212a1")
    paths = [f"/srv/www/uploads/0.{number:016}" for number in range(200)]
    tracemalloc.start()
    for path in paths:
        assert is_harmless(path)
        assert not is_harmless(path.replace("www", path[-4:] * 1000))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # One copy of each of the long directories alone is more.
    assert kept < 200 * 4000
