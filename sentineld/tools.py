"""Tools: the event class of a tool by its name alone.

The name is looked up (names that known agents document, write or wrote, in lower case), then its form counts
(``mcp__server__tool``, ``server.tool``), then its words (``read_config_file``).
"""

import re

from sentineld.verbs.options import names

#: Tools of known agents by class; names in lower case, each once.
TOOLS: dict[str, tuple[str, ...]] = {
    event_class: tuple(text.split())
    for event_class, text in {
        "file_read": (
            "read view read_file read_files read_many_files ls glob grep lsp list_directory"
            " list_dir list_files grep_files grep_search search_file_content file_search"
            " find_files find rg search codebase_search code_search semantic_search search_files"
            " search_code get_file open_file cat view_image view_file show_file notebookread"
            " read_notebook readfile listdir list_code_usages list_code_definition_names"
            " get_errors get_changed_files read_lints diagnostics image pdf memory_get"
            " memory_search get_memory read_memory get_internal_docs"
            " fetch_copilot_cli_documentation cli_help search_code_subagent codebase_investigator"
            " copilot_getnotebooksummary read_notebook_cell_output get_search_view_results"
            " read_project_structure"
            " list test_search trajectory_search project analyze codesearch lsp_hover lsp_symbols"
            " lsp_diagnostics read_chunk"
            " get_diagnostics find_symbol find_by_name look_at find_thread read_thread fs_read"
            " view_audio view_content_chunk finder copilot_geterrors knowledge secret_scanning"
            " get_output_window_logs get_projects_in_solution get_tests github_text_search"
            " read_page screenshot_page resolve_memory_file_uri image_processor screen_capture"
            " list_windows tree load retrieve_memories recall reapply_history diff_history"
            " screenshot"
        ),
        "file_write": (
            "write edit multiedit apply_patch replace str_replace write_file notebookedit"
            " edit_file str_replace_editor str_replace_based_edit_tool edit_notebook_file"
            " edit_notebook insert_edit_into_file replace_in_file replace_string_in_file"
            " multi_replace_string_in_file write_to_file insert append_file search_replace"
            " apply_diff strreplace file_change save_memory store_memory memory update_memory"
            " move_file rename_file smart_edit undo_edit"
            " patch fs_write fs_append append_to_file replace_string multi_replace_string"
            " insert_edit reapply format_file semantic_rename smart_relocate vscode_renamesymbol"
            " text_editor text_editor_code_execution file_editor fileeditortool vote_memory"
            " remember_memory presentation_artifact config"
        ),
        "file_create": ("create_file create create_directory mkdir create_new_jupyter_notebook"),
        "file_delete": ("delete_file delete remove_file delete_path"),
        "network_request": (
            "webfetch web_fetch websearch web_search web_search_call google_web_search web.run web.search"
            " fetch fetch_url fetch_webpage http_get http_post http_request x_search browser"
            " open_simple_browser github_repo message send_email sendemail pushnotification"
            " senduserfile remotetrigger artifact gateway nodes url_fetch download web"
            " open_browser tts"
            " browse browse_interactive web_scrape navigate_page click_element type_in_page"
            " hover_element computer computer_use computer_use_preview computer_call"
            " computer_control remote_web_search subscribepr unsubscribepr webbrowser"
        ),
        "shell_exec": (
            "bash shell exec_command run_shell_command local_shell_call local_shell shell_command"
            " container.exec unified_exec command_execution write_stdin exec process terminal"
            " shell_exec execute_command run_command run_terminal_cmd run_in_terminal"
            " runinterminal get_terminal_output terminal_last_command terminal_selection"
            " create_and_run_task bashoutput bash_output killshell killbash kill_shell taskoutput"
            " taskstop monitor read_bash write_bash stop_bash list_bash powershell read_powershell"
            " write_powershell stop_powershell list_powershell execute run run_build run_tests"
            " runtests run_task python execute_code code_execution code_interpreter js_repl"
            " js_repl_reset repl ipython run_notebook_cell run_vscode_command test_failure"
            " test_sync_tool enterworktree exitworktree install_extension install_python_packages"
            " configure_python_environment background_process"
            " task_stop taskstatus task_status get_task_output read_background_output"
            " list_background_processes execute_pwsh control_pwsh_process list_processes"
            " get_process_output execute_ipython_cell code_interpreter_call automation_script"
            " parallel_validation codeql_checker extensions_manage extensions_reload"
            " detect_memory_leaks create_new_workspace"
        ),
        "agent_spawn": (
            "task agent spawn_agent spawn_agents spawn_agents_on_csv report_agent_job_result"
            " wait_agent close_agent resume_agent send_input send_message followup_task"
            " assign_task list_agents read_agent write_agent agentoutput agentoutputtool wait"
            " runsubagent sendmessage teamcreate teamdelete workflow subagent subagents"
            " sessions_spawn sessions_send sessions_list sessions_history sessions_yield"
            " session_status agents_list delegate_to_agent delegate dispatch_agent new_task"
            " multi_agents complete_task generalist"
            " oracle librarian handoff explore fleet listpeers advisor await load_agent"
            " generatedroid interrupt_agent execute_task"
        ),
        "plan": (
            "todowrite todoread update_plan skill slashcommand taskcreate taskupdate tasklist"
            " taskget exitplanmode enterplanmode exit_plan_mode enter_plan_mode toolsearch"
            " tool_search tool_suggest write_todos todo todo_write todo_read update_todo"
            " update_todos manage_todo_list manage_todos activate_skill report_intent"
            " report_progress update_topic think sequentialthinking plan propose_work"
            " task_complete attempt_completion code_review reportfindings croncreate crondelete"
            " cronlist cron schedulewakeup heartbeat_respond create_goal update_goal get_goal"
            " tracker_create_task tracker_update_task tracker_list_tasks waitformcpservers"
            " plan_mode_respond switch_mode sleep current_time new_context structuredoutput canvas"
            " multi_tool_use.parallel context_compaction get_project_setup_info artifacts"
            ""
            " plan_enter plan_exit batch invalid doom_loop external_directory final_output brief"
            " sendusermessage snip ctxinspect endconversation suggestbackgroundpr search_tool_bm25"
            " tool_search_tool_bm25 tool_search_tool_regex clock get_context_remaining"
            " create_new_topic create_diagram mermaid rendermermaiddiagram task_boundary"
            " task_tracker finish notify_user manage_schedule context_board record_observation"
            " report_issue introspect tracker_get_task tracker_add_dependency tracker_visualize"
            " cron_create cron_delete cron_list prework createhook kiropowers"
        ),
        "approval": (
            "askuserquestion ask_user ask_user_question ask_questions ask_followup_question"
            " request_user_input request_permissions request_plugin_install confirm elicitation"
            " question user_input"
        ),
        "api_call": (
            "listmcpresources listmcpresourcestool readmcpresource readmcpresourcetool"
            " readmcpresourcedirtool list_mcp_resources list_mcp_resource_templates"
            " read_mcp_resource use_mcp_tool mcp_tool_call access_mcp_resource mcp sql"
            " reply_to_comment designsync shareonboardingguide get_vscode_api"
            " list_resources read_resource call_mcp_tool call_tool_mcp refreshmcptools mcpauth"
            " use_aws session_store_sql gh-advisory-database create_pull_request recordscreen"
            " vscode_searchextensions_internal list_available_plugins_to_install"
        ),
        "model_call": (
            "image_generation image_generation_call image.generation image_generate image_gen"
            " generate_image music_generate video_generate painter"
        ),
    }.items()
}

_CLASS_OF_TOOL = {tool: event_class for event_class, tools in TOOLS.items() for tool in tools}
#: The same names without underscores: ``ApplyPatch`` is ``apply_patch``.
_KNOWN_BY_LETTERS = {tool.replace("_", ""): tool for tool in _CLASS_OF_TOOL}
#: The date of a version: ``text_editor_20250728``.
_VERSION = re.compile(r"_20\d{6}\Z")
#: What agents put before names of their own tools: Goose, VS Code.
_OWN_PREFIX = re.compile(r"(?:developer__|computercontroller__|copilot_)(?=.)")

#: Names that frameworks put before their own tools: ``functions.shell`` is ``shell``.
_OWN = names(
    "functions function default_api tools tool core builtin container multi_agent multi_agent_v1"
    " multi_agent_v2 collab agent agents web file shell workspace"
)
#: ``github-mcp-server-list_issues``: a server's name with hyphens, a tool's with underscores.
_SERVER_TOOL = re.compile(r"[a-z0-9.]+(?:-[a-z0-9]+)*-[a-z0-9]+(?:_[a-z0-9]+)+\Z")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_FILE = names(
    "file files dir directory directories folder folders path document notebook code codebase lines"
)
#: What the words of an unknown name say: the first line of which it has a word, and one of the second group.
_HINTS: tuple[tuple[str, frozenset[str], frozenset[str] | None], ...] = (
    ("file_delete", names("delete remove unlink rm"), _FILE),
    ("file_create", names("create make new mkdir"), _FILE),
    (
        "file_write",
        names("write edit update replace insert modify append patch save move rename copy"),
        _FILE,
    ),
    ("file_read", names("read view get open cat list search find grep glob show load lookup inspect"), _FILE),
    ("shell_exec", names("bash shell terminal powershell cmd command exec subprocess"), None),
    ("approval", names("ask approve approval confirm permission permissions"), None),
    ("plan", names("todo todos plan think thinking skill skills"), None),
    ("agent_spawn", names("agent agents subagent subagents"), None),
    (
        "network_request",
        names("browser web http https url webpage fetch download upload internet email mail"),
        None,
    ),
)
#: Words of a name that say that data leaves by the tool.
_SENDS = names(
    "send post put upload publish push create update submit write share invite add delete pay transfer"
    " schedule reply forward comment patch set edit remove merge message broadcast notify make execute"
    " type fill"
)


def known_name(tool: str) -> str:
    """Return a tool's name as ``TOOLS`` has it; in lower case where it has not."""
    name = tool.strip().lower()
    if name not in _CLASS_OF_TOOL:
        name = _VERSION.sub("", _OWN_PREFIX.sub("", name, count=1))
        if "__" not in name:
            return _KNOWN_BY_LETTERS.get(name.replace("_", ""), name)
    return name


def class_of_tool(tool: str) -> str:
    """Return the event class of a tool; ``tool_call`` where its name says nothing."""
    name = known_name(tool)
    known = _CLASS_OF_TOOL.get(name)
    if known is not None:
        return known
    if name.startswith("browser_"):
        return "network_request"
    if name.startswith(("mcp__", "mcp_")) or "__" in name:
        return "api_call"
    before, separator, last = name.rpartition(".")
    if separator and before and last:
        if before.partition(".")[0] not in _OWN:
            return "api_call"
        known = _CLASS_OF_TOOL.get(last) or _CLASS_OF_TOOL.get(f"{before.rpartition('.')[2]}_{last}")
        return known or _class_by_words(tool)
    before, separator, last = name.rpartition("/")
    if separator and before and last:
        return "api_call"
    if "-" in name:
        known = _CLASS_OF_TOOL.get(name.replace("-", "_"))
        if known is not None:
            return known
        if _SERVER_TOOL.match(name):
            return "api_call"
    return _class_by_words(tool)


def sends(tool: str) -> bool:
    """Say whether by a tool's name data leaves by it: ``send_email``, ``mcp__linear__create_issue``."""
    return not _SENDS.isdisjoint(_words(tool.rpartition("__")[2]))


def _class_by_words(tool: str) -> str:
    words = _words(tool)
    for event_class, first, second in _HINTS:
        if not words.isdisjoint(first) and (second is None or not words.isdisjoint(second)):
            return event_class
    return "tool_call"


def _words(tool: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(tool)}
