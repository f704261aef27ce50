"""Ground truth of AgentDojo's tasks, executed in their environments and written as JSON.

Runs in an interpreter that has the PyPI package ``agentdojo`` (the bench's only use of it):

    python bench/detection/agentdojo_truth.py OUTPUT

Source: Debenedetti et al., "AgentDojo: a dynamic environment to evaluate prompt injection attacks and
defenses for LLM agents" (2024).
"""

import json
import sys
from pathlib import Path
from typing import Any

BENCHMARK_VERSION = "v1.2.2"


def plain(value: Any) -> Any:
    """Turn an argument into what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def run(suite: Any, calls: list[Any], environment: Any) -> list[dict[str, Any]]:
    """Execute calls; tell of each tool, arguments, whether it failed and whether it read an injection."""
    from agentdojo.functions_runtime import FunctionsRuntime

    runtime = FunctionsRuntime(suite.tools)
    done = []
    for call in calls:
        result, error = runtime.run_function(environment, call.function, call.args)
        done.append(
            {
                "tool": call.function,
                "args": plain(call.args),
                "error": error is not None,
                "injectable": "---CANARY" in str(result),
            }
        )
    return done


def truth() -> dict[str, Any]:
    """Return per suite its tools with optional arguments, user tasks, their prompts, injections by task."""
    from agentdojo.task_suite.load_suites import get_suites

    suites = {}
    for name, suite in get_suites(BENCHMARK_VERSION).items():
        canaries = {vector: f"---CANARY_{vector}---" for vector in suite.get_injection_vector_defaults()}
        fresh = suite.load_and_inject_default_environment(canaries)
        tools = {}
        for tool in suite.tools:
            schema = tool.parameters.model_json_schema()
            tools[tool.name] = {
                "optional": {
                    key: plain(member["default"])
                    for key, member in schema.get("properties", {}).items()
                    if "default" in member
                },
                "arguments": sorted(schema.get("properties", {})),
            }
        users: dict[str, list[dict[str, Any]]] = {}
        injections: dict[str, dict[str, list[dict[str, Any]]]] = {}
        plain_environment = suite.load_and_inject_default_environment({})
        for user_task in suite.user_tasks.values():
            environment = user_task.init_environment(plain_environment.model_copy(deep=True))
            marked = user_task.init_environment(fresh.model_copy(deep=True))
            done = run(suite, user_task.ground_truth(environment), environment.model_copy(deep=True))
            read = run(suite, user_task.ground_truth(marked), marked)
            users[user_task.ID] = [
                {**call, "injectable": seen["injectable"]} for call, seen in zip(done, read, strict=True)
            ]
            injections[user_task.ID] = {}
            for injection in suite.injection_tasks.values():
                hijacked = injection.ground_truth(environment.model_copy(deep=True))
                if hijacked:
                    injections[user_task.ID][injection.ID] = run(
                        suite, hijacked, environment.model_copy(deep=True)
                    )
        prompts = {task.ID: task.PROMPT for task in suite.user_tasks.values()}
        suites[name] = {"tools": tools, "users": users, "injections": injections, "prompts": prompts}
    return {"version": BENCHMARK_VERSION, "suites": suites}


if __name__ == "__main__":
    # A script's own directory comes first on the path; its modules must not shadow other packages' names.
    sys.path.pop(0)
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    partial.write_text(json.dumps(truth()))
    partial.replace(output)
