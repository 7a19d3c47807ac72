# Copyright (c) 2026, the rootless.gitlab_runner authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The C([[registry]]) tables of containers-registries.conf(5), as what toml_file is to set."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Optional

# The keys of a table. What a registry or a mirror does not say is removed, lest it keeps an "insecure" of former times.
_REGISTRY = ("prefix", "insecure", "blocked", "mirror-by-digest-only", "mirror")
_MIRROR = ("insecure", "pull-from-mirror")


def tables(
    mirrors: Mapping[str, Iterable[str]], insecure: Collection[str], registries: Collection[Mapping[str, Any]]
) -> Optional[list[dict[str, Any]]]:
    """All tables of a file, those that are written out last; None, which removes them, if there are none.

    A registry gets one table, because Podman takes only one of several, or refuses them.

    mirrors: The locations of the mirrors of each registry.
    insecure: The locations, of registries or of mirrors, that may be talked to without verified TLS.
    registries: Tables that are written out. What they say counts; what they leave out comes from the others.
    """
    written = {_prefix(registry) for registry in registries} | set(insecure_locations(registries))
    named = [location for location in dict.fromkeys([*mirrors, *insecure]) if location not in written]
    found = []
    for registry in [*({"location": location} for location in named), *registries]:
        of_it = registry.get("mirror") or [{"location": mirror} for mirror in mirrors.get(_prefix(registry), [])]
        whole = {**dict.fromkeys(_REGISTRY), **_marked(registry, insecure)}
        whole["mirror"] = [{**dict.fromkeys(_MIRROR), **_marked(mirror, insecure)} for mirror in of_it] or None
        found.append(whole)
    return found or None


def _prefix(registry: Mapping[str, Any]) -> str:
    """What image names are compared with: the location, if nothing else is named."""
    return str(registry.get("prefix") or registry.get("location"))


def _marked(table: Mapping[str, Any], insecure: Collection[str]) -> dict[str, Any]:
    return {"insecure": True if table.get("location") in insecure else None, **table}


def insecure_locations(registries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The locations of the registries and mirrors among written out tables that ask for no verified TLS.

    A registry without a location is named by its prefix, such as C(*.example.com).
    """
    return [
        str(table.get("location") or table.get("prefix"))
        for registry in registries
        for table in [registry, *(registry.get("mirror") or [])]
        if table.get("insecure")
    ]
