// go-redis against Deja: prints what it got as JSON (tests/integration/test_resp_go.py).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/redis/go-redis/v9"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: os.Getenv("TEST_ADDRESS"), Password: os.Getenv("TEST_PASSWORD")})
	result := map[string]any{}
	must(client.FlushAll(ctx).Err())
	must(client.Set(ctx, "k", "v", 1000*time.Second).Err())
	result["get"] = client.Get(ctx, "k").Val()
	result["ttl"] = client.TTL(ctx, "k").Val().Seconds()
	result["missing"] = client.Get(ctx, "none").Err() == redis.Nil
	result["setnx"] = client.SetNX(ctx, "k", "w", 0).Val()
	pipe := client.Pipeline()
	for i := 0; i < 100; i++ {
		pipe.Incr(ctx, "n")
	}
	replies, err := pipe.Exec(ctx)
	must(err)
	result["last"] = replies[99].(*redis.IntCmd).Val()
	multi, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, "a", 1, 0)
		pipe.Incr(ctx, "a")
		return nil
	})
	must(err)
	result["multi"] = multi[1].(*redis.IntCmd).Val()
	result["mget"] = client.MGet(ctx, "a", "none", "k").Val()
	keys := []string{}
	for iterator := client.Scan(ctx, 0, "*", 2).Iterator(); iterator.Next(ctx); {
		keys = append(keys, iterator.Val())
	}
	sort.Strings(keys)
	result["keys"] = keys
	listener := client.Subscribe(ctx, "cache:invalidate")
	_, err = listener.Receive(ctx)
	must(err)
	must(client.Publish(ctx, "cache:invalidate", `{"pattern": "n"}`).Err())
	message := <-listener.Channel()
	result["channel"] = message.Channel
	result["gone"] = client.Get(ctx, "n").Err() == redis.Nil
	result["error"] = client.HSet(ctx, "h", "f", 1).Err().Error()
	must(json.NewEncoder(os.Stdout).Encode(result))
}
