// Links between network namespaces: links RATE DELAY NAMESPACE.., with the rate in bits a second
// each way and the delay, one way, in seconds. Each namespace gets an interface link0 (TUN), and
// namespace number i, from 1, the packets to 10.77.0.i. It stands for tc's netem, which few small
// kernels have. Prints "ready", and goes on until it is killed.

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <string>
#include <vector>

namespace {

/// Precedes each packet: virtio_net_hdr, whose own header is no C++.
struct Segments {
  uint8_t flags, type;
  uint16_t header_size, size, checksum_start, checksum_offset;
};

constexpr size_t kHeader = sizeof(Segments), kLargest = kHeader + 65536;
constexpr double kBacklog = 200e-6;  // s; more waits in the sender's kernel, as with a network card

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Packet {
  double due;
  std::vector<char> bytes;
};

struct Node {
  int file;
  double sent_until = 0, received_until = 0;  // its link is busy, in each direction
  std::deque<Packet> arriving = {};           // in the order of their times
};

/// Makes link0 in a namespace. Packets of many segments stay in one piece.
int open_link(const char* name) {
  const int space = open((std::string("/run/netns/") + name).c_str(), O_RDONLY);
  if (space < 0 || setns(space, CLONE_NEWNET) != 0) fail(name);
  close(space);
  const int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (file < 0) fail("/dev/net/tun");
  ifreq request{};
  std::strcpy(request.ifr_name, "link0");
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(file, TUNSETIFF, &request) != 0) fail("TUNSETIFF");
  if (ioctl(file, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0) fail("TUNSETOFFLOAD");
  return file;
}

/// Returns the bits of a packet on an Ethernet: each segment has headers (IP and TCP are in the
/// packet once), a checksum, a preamble and a gap.
double bits_on_wire(const std::vector<char>& bytes) {
  Segments segments;
  std::memcpy(&segments, bytes.data(), kHeader);
  const double size = static_cast<double>(bytes.size() - kHeader);
  constexpr double kEthernet = 38, kIpTcp = 52;
  double count = 1;
  if (segments.type != 0 && segments.size > 0)
    count = std::max(1., std::ceil((size - kIpTcp) / segments.size));
  return 8 * (size + count * kEthernet + (count - 1) * kIpTcp);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fputs("usage: links RATE DELAY NAMESPACE NAMESPACE..\n", stderr);
    return 2;
  }
  const double rate = std::atof(argv[1]), delay = std::atof(argv[2]);
  // Else a packet would wait for the ranks, which compute on all cores.
  const sched_param priority{.sched_priority = 10};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) fail("SCHED_FIFO");
  std::vector<Node> nodes;
  for (int i = 3; i < argc; ++i) nodes.push_back({open_link(argv[i])});
  std::puts("ready");
  std::fflush(stdout);

  std::vector<std::vector<char>> spare;
  std::vector<pollfd> waiting(nodes.size());
  for (;;) {
    double next = 1e30;
    for (size_t i = 0; i < nodes.size(); ++i) {
      Node& from = nodes[i];
      while (now() > from.sent_until - kBacklog) {
        std::vector<char> bytes;
        if (!spare.empty()) bytes.swap(spare.back()), spare.pop_back();
        bytes.resize(kLargest);
        const ssize_t size = read(from.file, bytes.data(), bytes.size());
        if (size < 0 && errno != EAGAIN) fail("read");
        if (size < static_cast<ssize_t>(kHeader) + 20) {
          spare.push_back(std::move(bytes));
          break;
        }
        bytes.resize(static_cast<size_t>(size));
        const char* ip = bytes.data() + kHeader;
        const size_t to = static_cast<size_t>(static_cast<unsigned char>(ip[19])) - 1;
        if ((ip[0] >> 4) != 4 || to >= nodes.size()) continue;
        const double time = bits_on_wire(bytes) / rate;
        from.sent_until = std::max(now(), from.sent_until) + time;
        double& until = nodes[to].received_until;
        until = std::max(from.sent_until + delay, until + time);
        nodes[to].arriving.push_back({until, std::move(bytes)});
      }
      const bool is_full = now() <= from.sent_until - kBacklog;
      if (is_full) next = std::min(next, from.sent_until - kBacklog);
      waiting[i] = {from.file, static_cast<short>(is_full ? 0 : POLLIN), 0};
    }
    for (Node& node : nodes) {
      while (!node.arriving.empty() && node.arriving.front().due <= now()) {
        std::vector<char>& bytes = node.arriving.front().bytes;
        if (write(node.file, bytes.data(), bytes.size()) < 0 && errno != EIO) fail("write");
        spare.push_back(std::move(bytes));
        node.arriving.pop_front();
      }
      if (!node.arriving.empty()) next = std::min(next, node.arriving.front().due);
    }
    const double wait = std::clamp(next - now(), 0., 1.);
    const double seconds = std::floor(wait);
    const timespec limit{static_cast<time_t>(seconds), static_cast<long>(1e9 * (wait - seconds))};
    ppoll(waiting.data(), waiting.size(), &limit, nullptr);
  }
}
