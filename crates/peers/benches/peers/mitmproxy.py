"""The rules of the corpus for mitmproxy: these names on these ports, at public addresses, named alike everywhere."""

import ipaddress
import os
import socket

from mitmproxy import http

ALLOWED = set(os.environ["CASEMATE_ALLOWED"].split())
PLAIN = {os.environ["CASEMATE_PLAIN"]}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# The one allowed name that is on this machine.
HERE = "good.test"


def plain(host):
    return host.lower().removesuffix(".")


def is_allowed(host, port, scheme="https"):
    return f"{plain(host)}:{port}" in (ALLOWED if scheme == "https" else PLAIN)


class Rules:
    def http_connect(self, flow):
        if not is_allowed(flow.request.host, flow.request.port):
            flow.response = http.Response.make(403)

    def requestheaders(self, flow):
        request = flow.request
        host, default = plain(request.host), {"http": 80, "https": 443}.get(request.scheme)
        named, _, port = (request.host_header or "").rpartition(":")
        if not port.isdigit():
            named, port = request.host_header or "", default
        is_named = plain(named) == host and int(port or 0) == request.port
        is_meant = plain(flow.client_conn.sni or host) == host
        is_right = is_allowed(host, request.port, request.scheme) and request.method in METHODS
        if not (is_named and is_meant and is_right):
            flow.response = http.Response.make(403)

    def websocket_message(self, flow):
        message = flow.websocket.messages[-1]
        if not message.is_text or len(message.content) > 1000:
            message.drop()

    def server_connect(self, data):
        host, port = data.server.address[:2]
        if plain(host) == HERE:
            return
        try:
            found = {entry[4][0] for entry in socket.getaddrinfo(host, port)}
            if not all(ipaddress.ip_address(address).is_global for address in found):
                data.server.error = "denied"
        except (OSError, ValueError):
            data.server.error = "denied"


addons = [Rules()]
