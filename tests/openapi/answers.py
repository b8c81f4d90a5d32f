"""Holds answers to operations that Schemathesis leaves alone against the description.

Arguments: the description, the configuration of Schemathesis, and a list of answers, each with the method and path of
its operation, its status, its type, and its body: parsed where it is JSON, a list of events where it is a stream. `shapes`
names what stands in the events, each with its shape.
"""

import json
import re
import sys
import tomllib

from jsonschema import Draft202012Validator

description, config, answers = sys.argv[1:]
with open(description) as file:
    document = json.load(file)
with open(config, "rb") as file:
    rules = [rule for rule in tomllib.load(file)["operations"] if rule.get("enabled") is False]
with open(answers) as file:
    answers = json.load(file)


def is_left_alone(path):
    for rule in rules:
        if rule.get("include-path") == path or re.search(rule.get("include-path-regex", "$^"), path):
            return True
    return False


left_alone = {
    (method.upper(), path)
    for path, operations in document["paths"].items()
    for method in operations
    if is_left_alone(path)
}
called = {(it["method"], it["path"]) for it in answers}
assert left_alone, "nothing is left alone: this test is needed no more"
assert called == left_alone, f"called: {sorted(called)}, left alone: {sorted(left_alone)}"

for it in answers:
    name = f"{it['method']} {it['path']}"
    operation = document["paths"][it["path"]][it["method"].lower()]
    assert str(it["status"]) in operation["responses"], f"{name}: {it['status']} is not described"
    content = operation["responses"][str(it["status"])].get("content", {})
    kind = it["type"].split(";")[0]
    assert kind in content, f"{name}: {kind} is not described"
    schema = {**content[kind]["schema"], "components": document["components"]}
    bodies = it["body"] if kind == "text/event-stream" else [it["body"]]
    assert bodies, f"{name}: nothing came"
    for body in bodies:
        wrong = [error.message for error in Draft202012Validator(schema).iter_errors(body)]
        assert not wrong, f"{name}: {wrong} in {json.dumps(body)[:1000]}"
    for name, value in it.get("shapes", []):
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        wrong = [error.message for error in Draft202012Validator(schema).iter_errors(value)]
        assert not wrong, f"{name}: {wrong} in {json.dumps(value)[:1000]}"
print(f"{len(answers)} answers are as described")
