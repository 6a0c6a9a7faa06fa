"""`captionstream models`: vision-language models, split in two, and which of them answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from captionstream.cli import adding, rendering
from captionstream.cli.options import DIRECTORY, DirectoryOption, Exit, fail
from captionstream.cli.stack import models_folder
from captionstream.local import triton
from captionstream.local.installed import MissingPart
from captionstream.local.reference_engine import ROLE as REFERENCE_ENGINE
from captionstream.local.state import is_running, read_state
from triton_models.registry import (
    CARD,
    PARITY,
    AliasesBroken,
    ModelChanged,
    Registry,
    RegistryError,
    SplitModel,
    triton_name,
)
from triton_models.repository import ModelFileChanged
from triton_models.vision_language.card import Parity, plan, sized

models = typer.Typer(
    help="Vision-language models, split in two: added, proved, tried on a share of the events, promoted.",
    no_args_is_help=True,
)


class Alias(StrEnum):
    PRODUCTION = "production"
    CANARY = "canary"


class Listing(StrEnum):
    TEXT = "text"
    JSON = "json"


FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        help="Where split models are kept; else in the local stack's folder.",
        envvar="CAPTIONSTREAM_MODELS",
        file_okay=False,
    ),
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Its name, folder or digest, or production or canary.")
]
AnyNameArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Its name, folder or digest, or production or canary.")
]
AliasOption = Annotated[Alias, typer.Option("--alias", help="What it is named as.")]
ShareOption = Annotated[
    float | None, typer.Option("--share", help="Of the events, for a canary: 0 to 1.", min=0.0, max=1.0)
]
ListingOption = Annotated[Listing, typer.Option("--output", "-o", help="For people or for programs.")]


def registry_in(folder: Path | None, directory: Path) -> Registry:
    """That of the folder, else the one whose models the local stack serves."""
    return Registry(folder or models_folder(directory))


@contextmanager
def refusals() -> Iterator[None]:
    """What is wrong with the models, as a sentence and an exit code."""
    try:
        yield
    except (ModelChanged, ModelFileChanged) as changed:
        raise fail(str(changed), Exit.UNANSWERED) from None
    except AliasesBroken as broken:
        raise fail(str(broken), Exit.AWAY) from None
    except RegistryError as refused:
        raise fail(str(refused)) from None
    except OSError as failed:
        raise fail(f"{failed.filename}: {failed.strerror}", Exit.AWAY) from None


# ---------------------------------------------------------------- adding


@models.command("add")
def models_add(
    checkpoint: Annotated[
        str, typer.Argument(metavar="PATH_OR_ID", help="A folder with a checkpoint, or a hub's OWNER/NAME.")
    ],
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="Commit of a hub's model; else today's, which is recorded."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Else that of the folder or the hub.")] = None,
    alias: Annotated[Alias | None, typer.Option("--alias", help="Name it at once.")] = None,
    share: ShareOption = None,
    folder: FolderOption = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Split a checkpoint in two, compare every token with the whole model, and make it ready to serve.

    Safetensors only, no code of the model's own. One token that differs, and nothing is added.

    A stack that runs in this folder serves it at once. Another Triton: `models render` (TensorRT is unverified).

    Example: captionstream models add HuggingFaceTB/SmolVLM-256M-Instruct --alias canary --share 0.1
    """
    _check_share(alias, share)
    registry, console = registry_in(folder, directory), Console(stderr=True)
    with refusals():
        model = registry.named(
            _added(registry, _arguments(registry.folder, checkpoint, revision, name), console)
        )
        _tell_triton(
            registry,
            directory,
            lambda: triton.serve_model(directory, model),
            "it is added and not named; `captionstream models remove` takes it away",
        )
        if alias is not None:
            _name(registry, model, alias, share)
    _say_added(registry, model)
    _say_unserved(registry, directory)
    _say_unwritten(registry, directory, model)


def _of_stack(registry: Registry, directory: Path) -> bool:
    """Whether the stack of that directory has its models from here."""
    return registry.folder.absolute() == models_folder(directory).absolute()


def _follows(registry: Registry, directory: Path) -> bool:
    """Whether that stack runs."""
    return _of_stack(registry, directory) and is_running(directory)


def _say_unserved(registry: Registry, directory: Path) -> None:
    """That no stack was told: it may run in another folder, and then sees nothing of the model."""
    if not _of_stack(registry, directory):
        folder = registry.folder.absolute()
        typer.echo(f"  served   by `CAPTIONSTREAM_MODELS={folder} captionstream up`", err=True)
    elif not is_running(directory):
        why = f"no stack runs in {directory.absolute()}"
        typer.echo(f"  served   {why}; one that `captionstream up` starts there will", err=True)


def _arguments(folder: Path, checkpoint: str, revision: str | None, name: str | None) -> list[str]:
    """Of the child; after `--` nothing is taken for an option."""
    told = {"--revision": revision, "--name": name}
    options = [f"{option}={value}" for option, value in told.items() if value is not None]
    return [*options, "--", str(folder), checkpoint]


def _added(registry: Registry, arguments: list[str], console: Console) -> str:
    try:
        return adding.run(adding.Child.here(), arguments, console)
    except MissingPart as missing:
        raise fail(str(missing), Exit.AWAY) from None
    except adding.Refused as refused:
        registry.sweep()
        raise fail(f"nothing was added: {refused}", _CODES.get(refused.kind, Exit.UNANSWERED)) from None
    except KeyboardInterrupt:
        registry.sweep()
        raise fail("interrupted; nothing was added", Exit.UNANSWERED) from None


def _tell_triton(
    registry: Registry, directory: Path, tell: Callable[[], Coroutine[Any, Any, bool]], now: str
) -> None:
    """When a stack runs that has its models from here; without one its Triton finds at its start what is ready.

    `now` says how things stand when the server refuses.
    """
    if not _follows(registry, directory):
        return
    import httpx  # imported late: only this talks to a server

    try:
        asyncio.run(tell())
    except triton.NotLoaded as refused:
        raise fail(f"the running Triton refused: {refused}; {now}", Exit.UNANSWERED) from None
    except httpx.HTTPError as failed:
        why = f"the running Triton did not follow: {failed}"
        raise fail(f"{why}. `captionstream down`, then `up`, serves what is ready", Exit.AWAY) from None


_CODES = {"WrongUse": Exit.USAGE, "NotDownloaded": Exit.AWAY}


def _say_added(registry: Registry, model: SplitModel) -> None:
    typer.echo(model.folder.name)
    typer.echo(f"  {model.halves.source.architecture}, {model.halves.source.licence}", err=True)
    typer.echo(f"  card     {model.folder / CARD}", err=True)
    named = registry.aliases().names_of(model.digest)
    told = " and ".join(named) or f"nothing yet; captionstream models promote {model.folder.name}"
    typer.echo(f"  named    {told}", err=True)


# ---------------------------------------------------------------- looking


@models.command("list")
def models_list(
    output: ListingOption = Listing.TEXT, folder: FolderOption = None, directory: DirectoryOption = DIRECTORY
) -> None:
    """The models that are ready, and which of them is production or canary.

    Example: captionstream models list -o json
    """
    registry = registry_in(folder, directory)
    with refusals():
        rows = [_row(model, registry) for model in registry.models()]
    for broken in registry.broken():
        typer.secho(f"✗ {broken}", err=True, fg=typer.colors.RED)
    if output is Listing.JSON:
        typer.echo(json.dumps(rows, indent=1))
    elif rows:
        Console().print(_table(rows))
    else:
        typer.echo(f"no model is ready in {registry.folder}; `captionstream models add` makes one", err=True)


def _row(model: SplitModel, registry: Registry) -> dict[str, Any]:
    aliases = registry.aliases()
    named = aliases.names_of(model.digest)
    return {
        "model": model.folder.name,
        "named": list(named),
        "share": aliases.share if "canary" in named else None,
        "class": model.halves.source.architecture,
        "engines": ["onnx", "transformers"] if model.servable else ["transformers"],
        "size": sum(file.size for file in (*model.halves.files, *model.ready.files)),
        "licence": model.halves.source.licence,
        "source": model.ready.source,
        "revision": model.halves.source.revision,
        "digest": model.digest,
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    told = (Column(name, overflow="fold") for name in ("named", "class", "engines", "size", "licence"))
    table = Table(Column("model", no_wrap=True), *told, box=None, pad_edge=False)
    for row in rows:
        share = "" if row["share"] is None else f" {row['share']:.0%}"
        named, engines = ", ".join(row["named"]) + share, ", ".join(row["engines"])
        table.add_row(row["model"], named or "-", row["class"], engines, sized(row["size"]), row["licence"])
    return table


@models.command("show")
def models_show(
    name: NameArgument,
    output: ListingOption = Listing.TEXT,
    folder: FolderOption = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """All that is known of one model: where it is from, what was proved, what its pictures weigh.

    Example: captionstream models show smolvlm
    """
    registry = registry_in(folder, directory)
    with refusals():
        model = registry.named(name)
        row = _row(model, registry)
        parity = Parity.model_validate_json((model.folder / PARITY).read_bytes())
    if output is Listing.JSON:
        facts = model.halves.model_dump(mode="json")
        told = {**row, "card": str(model.folder / CARD), "plan": plan(model.halves)}
        typer.echo(json.dumps({**told, "parity": parity.model_dump(mode="json"), "halves": facts}, indent=1))
        return
    for what, value in {**row, "size": sized(row["size"]), "card": model.folder / CARD}.items():
        shown = ", ".join(value) or "-" if isinstance(value, list) else "-" if value is None else value
        typer.echo(f"{what:<9} {shown}")
    Console().print(_parity_table(parity))
    for image in parity.images:
        how = "in the message" if image.inline else "by claim check"
        typer.echo(
            f"{image.width} × {image.height}: {image.tokens} visual tokens, {sized(image.size)}, {how}"
        )


def _parity_table(parity: Parity) -> Table:
    columns = ("engine", "decoding", "batch", "tokens", "equal in fp32", "in fp16", "torchvision")
    table = Table(*columns, title="against the whole model", title_justify="left", box=None, pad_edge=False)
    for row in parity.rows:
        mark = "✓" if row.proved else "✗"
        shares = ("–" if count is None else str(count) for count in (row.same_fp16, row.same_torchvision))
        table.add_row(row.engine, row.decoding, row.case, str(row.tokens), f"{row.same_fp32} {mark}", *shares)
    return table


@models.command("verify")
def models_verify(
    name: AnyNameArgument = None, folder: FolderOption = None, directory: DirectoryOption = DIRECTORY
) -> None:
    """Read every file again and compare it with its recorded digest; 1 when one is another.

    Example: captionstream models verify
    """
    registry = registry_in(folder, directory)
    with refusals():
        found = [registry.named(name)] if name else registry.models()
        aliases = registry.aliases()
    wrong = [] if name else [str(broken) for broken in registry.broken()]
    for model in found:
        try:
            typer.echo(f"✓ {model.folder.name}: {model.check()} files")
        except ModelChanged as changed:
            wrong.append(str(changed))
    known = {model.digest for model in registry.models()}
    for alias in ("production", "canary") if not name else ():
        if (digest := getattr(aliases, alias)) is not None and digest not in known:
            wrong.append(f"{alias} is {digest[:12]}…, which is not ready here")
    for one in wrong:
        typer.secho(f"✗ {one}", err=True, fg=typer.colors.RED)
    if wrong:
        raise typer.Exit(Exit.UNANSWERED)
    if not found:
        typer.echo(f"no model is ready in {registry.folder}", err=True)


# ---------------------------------------------------------------- for another Triton


@models.command("render")
def models_render(
    name: NameArgument,
    target: Annotated[
        Path,
        typer.Argument(metavar="TARGET", help="Triton's model repository; made if need be.", file_okay=False),
    ],
    backend: Annotated[rendering.Backend, typer.Option("--backend", help="Of Triton, which runs the eye.")],
    instances: Annotated[int, typer.Option("--instances", help="Pictures at once.", min=1)] = 1,
    folder: FolderOption = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Write a model's eye into the model repository of a Triton of your own. A local stack needs no such call.

    Its files are read again first. In TARGET its folder is replaced, with a plan that is in it, and nothing else.

    python is what a local stack runs. onnxruntime (CPU) and tensorrt (GPU) are unverified: no server loaded them.

    Example: captionstream models render smolvlm ./triton-models --backend python
    """
    with refusals():
        model = registry_in(folder, directory).named(name)
        made = rendering.rendered(model, target, backend, instances)
    typer.echo(made)
    if (missing := rendering.unverified(backend)) is not None:
        typer.secho(f"! {missing}", err=True, fg=typer.colors.YELLOW)
    for what, how in rendering.left_to_do(model, made, backend):
        typer.echo(f"  {what:<8} {how}", err=True)


# ---------------------------------------------------------------- naming


@models.command("promote")
def models_promote(
    name: AnyNameArgument = None,
    alias: AliasOption = Alias.PRODUCTION,
    share: ShareOption = None,
    folder: FolderOption = None,
    directory: DirectoryOption = DIRECTORY,
) -> None:
    """Make the canary production, or name a model as either. Services follow at their next event.

    Its files are read again first. With --alias canary and no NAME, the canary's share is changed.

    Example: captionstream models promote
    """
    _check_share(alias, share)
    registry = registry_in(folder, directory)
    with refusals():
        if name is None and alias is Alias.CANARY and share is None:
            raise fail("name the model to try, or --share for the canary that there is")
        if name is None and registry.aliases().canary is None:
            raise fail("there is no canary; name the model to promote")
        model = registry.named(name or "canary")
        _name(registry, model, alias, share)
        _say_named(registry)
    _say_unwritten(registry, directory, model)


def _say_unwritten(registry: Registry, directory: Path, model: SplitModel) -> None:
    """What to do where the running stack sees with the model and has nothing that writes for it."""
    if model.servable or not _follows(registry, directory):
        return
    state = read_state(directory)
    if state is None or REFERENCE_ENGINE in {part.role for part in state.parts}:
        return
    why = f"{model.folder.name} is written by the reference engine, which the running stack lacks"
    typer.secho(f"! {why}: `captionstream down`, then `up`, starts it", err=True, fg=typer.colors.YELLOW)


def _check_share(alias: Alias | None, share: float | None) -> None:
    if share is not None and alias is not Alias.CANARY:
        raise fail("--share belongs to --alias canary; production takes the rest")


def _name(registry: Registry, model: SplitModel, alias: Alias, share: float | None) -> None:
    model.check()
    if alias is Alias.PRODUCTION:
        registry.change(lambda aliases: aliases.producing(model.digest))
    else:
        registry.change(
            lambda aliases: aliases.trying(model.digest, aliases.share if share is None else share)
        )


@models.command("rollback")
def models_rollback(
    alias: AliasOption = Alias.PRODUCTION, folder: FolderOption = None, directory: DirectoryOption = DIRECTORY
) -> None:
    """Make the production before this one production again; with --alias canary, stop trying the canary.

    Where no earlier one is left, nothing is production afterwards, and events are captioned without a split model.

    Example: captionstream models rollback
    """
    registry = registry_in(folder, directory)
    with refusals():
        now = registry.change(
            lambda aliases: aliases.untried() if alias is Alias.CANARY else aliases.rolled_back()
        )
        _say_named(registry)
        production = None if now.production is None else registry.model(now.production)
    if production is not None:
        _say_unwritten(registry, directory, production)


def _say_named(registry: Registry) -> None:
    aliases = registry.aliases()
    called = {model.digest: model.folder.name for model in registry.models()}
    for alias in ("production", "canary"):
        digest = getattr(aliases, alias)
        share = f" ({aliases.share:.0%} of the events)" if alias == "canary" and digest else ""
        typer.echo(f"{alias:<11} {called.get(digest, digest) if digest else '-'}{share}")


@models.command("remove")
def models_remove(
    name: NameArgument, folder: FolderOption = None, directory: DirectoryOption = DIRECTORY
) -> None:
    """Take a model off the disk. One that is production or canary stays.

    Events that were seen with it and wait for their words are refused: let the queue run empty first.

    Example: captionstream models remove smolvlm-1519d4e7091f
    """
    registry = registry_in(folder, directory)
    with refusals():
        gone = registry.folder_of(name)
        registry.remove(gone)
        registry.sweep()
    typer.echo(f"removed {gone.name}", err=True)
    _tell_triton(
        registry,
        directory,
        lambda: triton.stop_serving(directory, triton_name(gone)),
        "it is off the disk, and served until the next `captionstream down` and `up`",
    )
