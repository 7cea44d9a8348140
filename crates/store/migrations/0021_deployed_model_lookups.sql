-- Every request asks what a model's own name stands for, and what is loaded on a deployment.
CREATE INDEX deployed_model_of ON deployed_model (record ->> '$.model.account', record ->> '$.model.id');
CREATE INDEX deployed_model_on ON deployed_model (account, record ->> '$.deployment');
