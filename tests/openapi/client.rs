//! A client that is generated from the customers' description, used as its customers would.

use std::ffi::OsString;
use std::path::Path;

use skyclaw_tests::{Node, Python, Setup};

use super::{description, fine, own, with_keys};

/// Has a client generated from a description, as that package in that folder.
fn generate(
    python: &Python,
    node: &Node,
    (name, package): (&str, &str),
    more: &[&str],
    folder: &Path,
) {
    let file = description(node, name, folder);
    let mut args: Vec<OsString> = vec!["generate".into(), "--path".into(), file.into()];
    args.extend(["--meta".into(), "none".into(), "--config".into(), own("generator.yaml").into()]);
    args.extend(["--output-path".into(), folder.join(package).into()]);
    args.extend(more.iter().map(OsString::from));
    fine(python, "openapi-python-client", &args, folder);
}

#[test]
fn a_generated_client_submits_a_job_waits_for_it_and_gets_typed_errors() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::both());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    let what = ("openapi/public.json", "skyclaw_public");
    generate(&python, &node, what, &["--fail-on-warning"], folder);
    let said = fine(&python, "python", &[own("customer.py").into(), node.url().into()], folder);
    assert!(said.contains("the customer is content"), "{said}");
}

#[test]
fn a_client_of_the_whole_can_be_generated() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::coordinator());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    generate(&python, &node, ("openapi.json", "skyclaw_whole"), &[], folder);
    let script = "from skyclaw_whole.api.jobs import list_jobs, submit_job\n\
        from skyclaw_whole.api.services import deploy_service, change_service\n\
        from skyclaw_whole.api.hosts import register_host\n";
    fine(&python, "python", &["-c".into(), script.into()], folder);
}
