// Go's servers, on package net as Go programmers use it: one goroutine per connection, blocking calls.
// What they do is what bench/io/servers/protocol.hpp says. GOMAXPROCS is the worker count.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
)

const readSize, longestHead = 4096, 8192

var (
	blankLine = []byte("\r\n\r\n")
	response  = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!")
)

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, readSize)
	for {
		n, err := connection.Read(buffer)
		if n > 0 {
			if _, err := connection.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func hello(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, longestHead)
	begun := 0 // bytes of a head whose end has not come yet
	for begun < len(buffer) {
		n, err := connection.Read(buffer[begun:])
		if err != nil {
			return
		}
		text, count := buffer[:begun+n], 0
		for end := bytes.Index(text, blankLine); end >= 0; end = bytes.Index(text, blankLine) {
			text = text[end+len(blankLine):]
			count++
		}
		begun = copy(buffer, text)
		answer := response
		if count != 1 {
			answer = bytes.Repeat(response, count)
		}
		if count > 0 {
			if _, err := connection.Write(answer); err != nil {
				return
			}
		}
	}
}

func main() {
	handlers := map[string]func(net.Conn){"echo": echo, "http": hello}
	if len(os.Args) != 2 || handlers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: io_go echo|http")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d %s, package net, a goroutine per connection, GOMAXPROCS = 1, default garbage collector\n",
		listener.Addr().(*net.TCPAddr).Port, runtime.Version())
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go handlers[os.Args[1]](connection)
	}
}
