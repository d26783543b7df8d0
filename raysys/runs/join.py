"""Join a running Ray cluster, or say within a minute why not. Ray itself would try for many, with warnings in C++."""

from __future__ import annotations

import socket

import ray
from ray._private import services
from ray.exceptions import AuthenticationError

from raysys.errors import ClusterError
from raysys.runs.local import first_line

_REACH_S = 20.0


def join(address: str) -> None:
    """Join a running cluster.

    Raises:
        ClusterError: there is none, or it does not let this job in.
    """
    remedy = (
        f"Expected --cluster.address (or RAY_ADDRESS) as HOST:PORT of a running head, usually port 6379: is it up, and "
        f"does `ray status --address {address}` reach it from here? If it wants a token, set RAY_AUTH_MODE=token and "
        f"RAY_AUTH_TOKEN. Without an address, a cluster is started on this machine."
    )
    if address == "auto":
        _ask(_remembered(remedy), remedy)
    elif address != "local":
        _ask(address, remedy)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    # Ray has many classes for what keeps it from joining, and no common one.
    except Exception as error:
        raise ClusterError(f"--cluster.address {address}: cannot be joined ({first_line(error)}). {remedy}") from error


def _remembered(remedy: str) -> str:
    """The address that Ray takes for 'auto': of the last cluster here, which may have died. Ray would wait for it.

    Raises:
        ClusterError: there is none.
    """
    try:
        return str(services.canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError) as error:
        raise ClusterError(f"--cluster.address auto: cannot be joined ({first_line(error)}). {remedy}") from error


def _ask(address: str, remedy: str) -> None:
    """Raises: ClusterError: no Ray head answers at the address, or it refuses this process."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ClusterError(f"--cluster.address {address}: not the address of a Ray cluster. {remedy}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"--cluster.address {address}: nothing answers there ({error}). {remedy}") from error
    # Imported here: a start on one machine does not wait for them, a quarter of a second.
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    try:
        with init_grpc_channel(address) as channel:
            NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=_REACH_S)
    except AuthenticationError as error:
        raise _refused(address) from error
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise _refused(address) from error
        raise ClusterError(
            f"--cluster.address {address}: what answers there is not a Ray head ({error.code().name}). {remedy}"
        ) from error


def _refused(address: str) -> ClusterError:
    return ClusterError(
        f"--cluster.address {address}: the cluster wants its token, and this process has none or another one. Set "
        f"RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the token with which the cluster was started; where its head runs, "
        f"`ray get-auth-token` prints it."
    )
