"""Exports a model with `--monai` and holds its metadata.json against MONAI's own schema.

    .venv/bin/python check_monai.py [--osteon ../../target/release/osteon] [--model MODEL.safetensors] [--schema FILE]

The schema is the one that the file names; it is fetched from there, or taken from FILE, and in both cases must have the hash below. MONAI's
`python -m monai.bundle verify_metadata` does the same and needs PyTorch for it. Exits with 1 where the file is not valid. jsonschema is
installed into a temporary folder where it is missing.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

# Also at https://project-monai.github.io/schema/meta_schema_20240725.json
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
SHA256 = "cd64aa8a5904426f6fc6855dabe46af8c742d5bad644b4e9cfb78ebad09ad678"


def validator(folder):
    """The package jsonschema."""
    try:
        import jsonschema
    except ImportError:
        place = str(folder / "packages")
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", place, "jsonschema"], check=True)
        sys.path.insert(0, place)
        import jsonschema
    return jsonschema


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--osteon", default="../../target/release/osteon")
    parser.add_argument("--model")
    parser.add_argument("--schema", type=pathlib.Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = flags.model
        if model is None:
            model = str(folder / "model.safetensors")
            subprocess.run([flags.osteon, "model", "new", "--input-size", "256x64", "--output", model], check=True)
        export = [flags.osteon, "model", "export", model, "--format", "onnx", "--monai", "--output", str(folder / "model.onnx")]
        subprocess.run(export, check=True)
        bundle = json.loads((folder / "metadata.json").read_text())
        if bundle["schema"] != SCHEMA:
            sys.exit(f"metadata.json names the schema {bundle['schema']}, and this script knows {SCHEMA}")
        text = flags.schema.read_bytes() if flags.schema else urllib.request.urlopen(SCHEMA, timeout=60).read()
        if hashlib.sha256(text).hexdigest() != SHA256:
            sys.exit("the schema has another hash than the one that this script knows")
        schema = json.loads(text)
        jsonschema = validator(folder)
        checked = jsonschema.Draft201909Validator(schema)
        problems = [f"{'/'.join(map(str, error.path))}: {error.message}" for error in checked.iter_errors(bundle)]
        # That the check can fail.
        for key in schema["required"]:
            assert not checked.is_valid({other: value for other, value in bundle.items() if other != key}), key
        print("\n".join(problems) or f"valid: {len(schema['required'])} required fields, {len(bundle)} in all")
        sys.exit(1 if problems else 0)


main()
