"""Verify the persons that a run found by comparing faces: those of the ledger are the ones that it used."""

from __future__ import annotations

from anon_batch.errors import IntegrityError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.persons import PersonStore
from anon_batch.formats.run_json import RunJson
from anon_batch.release.verification import Verification


def check_persons(record: RunJson, ledger: Ledger | None, result: Verification) -> None:
    """Check that the ledger's persons are whole, and the same that the run began with, but for what was erased since."""
    if ledger is None or record.config.get("identity", {}).get("source") != "cluster":
        return
    store, plan = PersonStore(ledger), ledger.plan()
    try:
        summary = store.summary()
        if summary is None:
            result.fault(f"ledger: {layout.LEDGER_PERSONS_JSON} is missing, so nobody can tell whose faces are linked")
            return
        store.check(summary)
    except (IntegrityError, ResumeRefusedError) as exc:
        result.fault(str(exc))
        return
    if plan is not None and plan.fingerprint.get("persons") != summary.made_sha256:
        result.fault(f"ledger: {layout.LEDGER_PERSONS} holds other persons than those of the run")
