//! The gRPC face on the same port.

use hearth_proto::gateway as pb;
use hearth_proto::gateway::gateway_client::GatewayClient;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::server::{Server, install_model};

async fn client(server: &Server) -> GatewayClient<Channel> {
    GatewayClient::connect(server.base.clone()).await.unwrap()
}

/// A request with the key in the metadata, twice, as one client sends it.
fn with_key<T>(server: &Server, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let key: tonic::metadata::MetadataValue<_> = server.key.parse().unwrap();
    request.metadata_mut().append("x-api-key", key.clone());
    request.metadata_mut().append("x-api-key", key);
    request
}

#[test]
fn the_old_client_finds_its_way() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    server.ready_dataset("rows");
    server.runtime().block_on(async {
        let mut client = client(&server).await;
        let list = pb::ListModelsRequest {
            parent: "accounts/fireworks".to_owned(),
            page_size: 200,
            include_deployed_model_refs: true,
            ..Default::default()
        };
        let models = client.list_models(with_key(&server, list)).await.unwrap().into_inner().models;
        assert_eq!(models[0].kind(), pb::model::Kind::HfBaseModel);
        let at = &models[0].deployed_model_refs[0];
        assert_eq!(at.state(), pb::deployed_model::State::Deployed);
        assert!(at.deployment.starts_with("accounts/fireworks/"), "{}", at.deployment);

        let name = "accounts/default/supervisedFineTuningJobs/j".to_owned();
        let get = || pb::GetSupervisedFineTuningJobRequest { name: name.clone(), read_mask: None };
        let missing = client.get_supervised_fine_tuning_job(with_key(&server, get())).await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound);
        let create = pb::CreateSupervisedFineTuningJobRequest {
            parent: "accounts/default".to_owned(),
            supervised_fine_tuning_job_id: "j".to_owned(),
            supervised_fine_tuning_job: Some(pb::SupervisedFineTuningJob {
                display_name: "j".to_owned(),
                dataset: "accounts/default/datasets/rows".to_owned(),
                base_model: "accounts/fireworks/models/tiny".to_owned(),
                max_context_length: 512,
                ..Default::default()
            }),
            ..Default::default()
        };
        client.create_supervised_fine_tuning_job(with_key(&server, create)).await.unwrap();
        let job = client.get_supervised_fine_tuning_job(with_key(&server, get())).await.unwrap().into_inner();
        assert_eq!(job.state(), pb::JobState::Pending);
        assert!(job.create_time.is_some() && job.output_model == "accounts/default/models/j");
        let delete = pb::DeleteSupervisedFineTuningJobRequest { name: name.clone() };
        client.delete_supervised_fine_tuning_job(with_key(&server, delete)).await.unwrap();
        let gone = client.get_supervised_fine_tuning_job(with_key(&server, get())).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
    });
}

#[test]
fn errors_carry_code_and_message() {
    let server = Server::start();
    server.runtime().block_on(async {
        let mut client = client(&server).await;
        let get = pb::GetDatasetRequest { name: "accounts/default/datasets/x".to_owned(), read_mask: None };
        let unknown = client.get_dataset(Request::new(get.clone())).await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unauthenticated);
        let missing = client.get_dataset(with_key(&server, get)).await.unwrap_err();
        assert_eq!(missing.message(), "dataset accounts/default/datasets/x does not exist");
        let wrong = pb::GetDatasetRequest { name: "datasets/x".to_owned(), read_mask: None };
        let wrong = client.get_dataset(with_key(&server, wrong)).await.unwrap_err();
        assert_eq!(wrong.code(), Code::InvalidArgument);
        assert!(!wrong.details().is_empty());
    });
}

#[test]
fn calls_that_are_not_built_are_unimplemented() {
    let server = Server::start();
    let call = |key: &str, path: &str| {
        let headers = [("content-type", "application/grpc"), ("x-api-key", key)];
        let reply = server.request(&headers, "POST", path, &[0, 0, 0, 0, 0]);
        let message = reply.headers.get("grpc-message").cloned().unwrap_or_default();
        (reply.status, reply.headers["grpc-status"].clone(), message)
    };
    let (status, code, message) = call(&server.key, "/gateway.Gateway/CreateCluster");
    assert!((status, code.as_str()) == (200, "12") && message.contains("CreateCluster"), "{message}");
    assert_eq!(call(&server.key, "/other.Service/Call").1, "12");
    assert_eq!(call("fw_wrong", "/gateway.Gateway/CreateCluster").1, "16");
}

/// What fireworks-ai 0.19 asks before it chats with an adapter.
#[test]
fn adapters_answer_without_a_deployment_of_their_own() {
    let server = Server::start();
    install_model(server.dir.path(), "fireworks", "tiny", None);
    install_model(server.dir.path(), "default", "mine", Some("tiny"));
    install_model(server.dir.path(), "default", "orphan", Some("gone"));
    server.runtime().block_on(async {
        let mut client = client(&server).await;
        let request = || pb::ListServerlessLoraModelsRequest {};
        let stranger = client.list_serverless_lora_models(request()).await.unwrap_err();
        assert_eq!(stranger.code(), Code::Unauthenticated);
        let bases =
            client.list_serverless_lora_models(with_key(&server, request())).await.unwrap().into_inner();
        assert_eq!(bases.models, ["accounts/fireworks/models/tiny"]);
        let list = |filter: &str| pb::ListDeployedModelsRequest {
            parent: "accounts/default".to_owned(),
            filter: filter.to_owned(),
            show_internal: true,
            ..Default::default()
        };
        // Without being asked for they are not there: the client would take them for its own.
        let none = pb::ListDeployedModelsRequest { show_internal: false, ..list("") };
        let none = client.list_deployed_models(with_key(&server, none)).await.unwrap().into_inner();
        assert_eq!((none.total_size, none.deployed_models.len()), (0, 0));
        let by_model = list("model=\"accounts/default/models/mine\"");
        let found = client.list_deployed_models(with_key(&server, by_model)).await.unwrap().into_inner();
        assert_eq!(
            (found.total_size, found.deployed_models[0].name.as_str()),
            (1, "accounts/default/deployedModels/mine")
        );
        // An adapter whose base is gone cannot answer.
        let all = client.list_deployed_models(with_key(&server, list(""))).await.unwrap().into_inner();
        assert_eq!((all.total_size, all.deployed_models.len()), (1, 1));
        let get = |id: &str| pb::GetDeployedModelRequest {
            name: format!("accounts/default/deployedModels/{id}"),
            read_mask: None,
        };
        let mine = client.get_deployed_model(with_key(&server, get("mine"))).await.unwrap().into_inner();
        assert_eq!((mine.state(), mine.serverless), (pb::deployed_model::State::Deployed, true));
        for absent in ["orphan", "nobody"] {
            let error = client.get_deployed_model(with_key(&server, get(absent))).await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound, "{absent}");
        }
    });
}
