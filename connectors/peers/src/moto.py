"""moto, with what it lacks.

- IAM's simulator. It answers out of moto's own reading of policies, by which moto also refuses calls.
- The permissions for the public access block of a bucket: moto looks for other words in the query than there are,
  and so asks for the permissions of lists and new buckets.
  https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
- One call at a time: moto goes through its lists while another thread makes them longer.
"""

import io
import threading

import moto.server
from moto.core.responses import ActionResult
from moto.iam.access_control import IAMPolicy, IAMUserAccessKey, PermissionResult
from moto.iam.responses import IamResponse
from moto.s3.responses import ACTION_MAP

PUBLIC_ACCESS_BLOCK = {
    "GET": "GetBucketPublicAccessBlock",
    "PUT": "PutBucketPublicAccessBlock",
    "DELETE": "PutBucketPublicAccessBlock",
}


def decision(policies, action, resource):
    verdicts = [policy.is_action_permitted(action, resource) for policy in policies]
    if PermissionResult.DENIED in verdicts:
        return "explicitDeny"
    return "allowed" if PermissionResult.PERMITTED in verdicts else "implicitDeny"


def simulate_principal_policy(self):
    # moto collects what holds for a user by way of one of its keys.
    owner = IAMUserAccessKey.__new__(IAMUserAccessKey)
    owner.account_id, owner.partition = self.current_account, self.partition
    owner._owner_user_name = self._get_param("PolicySourceArn").rsplit("/", 1)[-1]
    self.backend.get_user(owner._owner_user_name)
    policies = [IAMPolicy(policy) for policy in owner.collect_policies()]
    results = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": decision(policies, action, resource),
        }
        for action in self._get_param("ActionNames", [])
        for resource in self._get_param("ResourceArns", []) or ["*"]
    ]
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def one_at_a_time(app):
    lock = threading.Lock()

    def call(environ, start_response):
        # Who is slow to ask keeps nobody waiting.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with lock:
            return list(app(environ, start_response))

    return call


def run(host, port, app, **settings):
    run_simple(host, port, one_at_a_time(app), **settings)


IamResponse.simulate_principal_policy = simulate_principal_policy
for method, permission in PUBLIC_ACCESS_BLOCK.items():
    ACTION_MAP["BUCKET"][method]["publicAccessBlock"] = permission
run_simple, moto.server.run_simple = moto.server.run_simple, run
moto.server.main()
