const { subtask } = require("hardhat/config");
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require("hardhat/builtin-tasks/task-names");
const solc = require("solc/package.json");

// The compiler is the npm package `solc`, pinned in package-lock.json, so that
// compiling needs nothing beyond `npm ci`: no download, and the same bytecode
// everywhere.
subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async ({ solcVersion }, _hre, runSuper) => {
  if (solcVersion !== solc.version) return runSuper();
  return {
    compilerPath: require.resolve("solc/soljson.js"),
    isSolcJs: true,
    version: solc.version,
    longVersion: solc.version,
  };
});

/** @type {import("hardhat/config").HardhatUserConfig} */
module.exports = {
  solidity: {
    version: solc.version,
    settings: {
      evmVersion: "cancun",
      optimizer: { enabled: true, runs: 200 },
      // Beside what Hardhat asks for itself: it lets dappscope name the storage slots that change.
      outputSelection: { "*": { "*": ["storageLayout"] } },
    },
  },
};
