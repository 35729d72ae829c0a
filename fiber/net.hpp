// Sockets: streams, listeners and servers, names and connections, datagrams. One header for each stands in net/.
#pragma once

#include "fiber/net/connect.hpp"
#include "fiber/net/datagram.hpp"
#include "fiber/net/endpoint.hpp"
#include "fiber/net/listener.hpp"
#include "fiber/net/serve.hpp"
#include "fiber/net/stream.hpp"
