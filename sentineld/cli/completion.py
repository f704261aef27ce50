"""``sentineld completion SHELL``: the script by which a shell completes commands, options and agents."""

import click
from click.shell_completion import get_completion_class

from sentineld.cli.app import cli, common, print_json
from sentineld.errors import UsageError


@click.command(epilog="Example: sentineld completion bash > sentineld.bash")
@click.argument(
    "shell", required=False, metavar="{bash|zsh|fish}", type=click.Choice(["bash", "zsh", "fish"])
)
@common
def completion(
    shell: str | None,
    config_path: str | None,  # noqa: ARG001 (every command takes it)
    state_dir: str | None,  # noqa: ARG001
    as_json: bool,
) -> None:
    """Print a script that completes commands, options and agents' names.

    Try it at once: source <(sentineld completion bash). To keep it, for bash, write it to
    ~/.local/share/bash-completion/completions/sentineld; for zsh to a file _sentineld in a directory of
    $fpath; for fish to ~/.config/fish/completions/sentineld.fish.
    """
    if shell is None:
        raise UsageError("say for which shell: bash, zsh or fish", hint="sentineld completion bash")
    found = get_completion_class(shell)
    assert found is not None
    text = found(cli, {}, "sentineld", "_SENTINELD_COMPLETE").source()
    if as_json:
        print_json({"shell": shell, "text": text})
    else:
        click.echo(text)
