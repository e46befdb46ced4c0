from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_session_loads_no_library_for_schemas() -> None:
    said = run("import ocimlpack.stores._oras, sys; print('jsonschema' in sys.modules)")
    assert said == "False"


def test_whoever_imports_it_later_gets_the_real_one() -> None:
    said = run("import ocimlpack.stores._oras, jsonschema; print(type(jsonschema).__name__)")
    assert said == "module"


def test_what_was_left_out_is_there_when_it_is_asked_for() -> None:
    said = run("""
        import ocimlpack.stores._oras, oras.provider
        try:
            oras.provider.jsonschema.validate({}, schema={"required": ["x"]})
        except oras.provider.jsonschema.ValidationError as error:
            print(error.message)
    """)
    assert said == "'x' is a required property"


def test_a_module_that_is_loaded_already_stays() -> None:
    said = run("""
        import jsonschema, ocimlpack.stores._oras, oras.provider
        print(oras.provider.jsonschema is jsonschema)
    """)
    assert said == "True"


def test_of_what_is_taken_by_name_a_function_is_there_when_it_is_called() -> None:
    said = run("""
        import sys
        import ocimlpack.stores._http, urllib3.http2
        print("importlib.metadata" in sys.modules)
        print(urllib3.http2.version("urllib3") == urllib3.__version__)
    """)
    assert said.split() == ["False", "True"]
