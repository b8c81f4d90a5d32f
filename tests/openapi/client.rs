//! A client that is generated from the customers' description, used as its customers would.

use skyclaw_tests::{Python, Setup};

use super::{description, fine, own, with_keys};

#[test]
fn a_generated_client_submits_a_job_waits_for_it_and_gets_typed_errors() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::both());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    let file = description(&node, "openapi/public.json", folder);
    let package = folder.join("skyclaw_public");
    let args = [
        "generate".into(),
        "--path".into(),
        file.into(),
        "--meta".into(),
        "none".into(),
        "--fail-on-warning".into(),
        "--config".into(),
        own("generator.yaml").into(),
        "--output-path".into(),
        package.into(),
    ];
    fine(&python, "openapi-python-client", &args, folder);
    let said = fine(&python, "python", &[own("customer.py").into(), node.url().into()], folder);
    assert!(said.contains("the customer is content"), "{said}");
}

#[test]
fn a_client_of_the_whole_can_be_generated() {
    let Some(python) = Python::here() else { return };
    let node = with_keys(Setup::coordinator());
    let folder = tempfile::tempdir().expect("a folder can be made");
    let folder = folder.path();
    let file = description(&node, "openapi.json", folder);
    let args = [
        "generate".into(),
        "--path".into(),
        file.into(),
        "--meta".into(),
        "none".into(),
        "--config".into(),
        own("generator.yaml").into(),
        "--output-path".into(),
        folder.join("skyclaw_whole").into(),
    ];
    fine(&python, "openapi-python-client", &args, folder);
    let script = "from skyclaw_whole.api.jobs import list_jobs, submit_job\n\
        from skyclaw_whole.api.services import deploy_service, change_service\n\
        from skyclaw_whole.api.hosts import register_host\n";
    fine(&python, "python", &["-c".into(), script.into()], folder);
}
